"""The codes of what is found, measured and done."""

from __future__ import annotations

from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

# The private scheme of this program, for what no public scheme that pydicom knows has a code for.
PRIVATE_SCHEME = "99WMHLORA"

WHITE_MATTER_HYPERINTENSITY = CodedConcept.from_code(codes.DCM.WhiteMatterT2Hyperintensity)
ABNORMAL_STRUCTURE = CodedConcept.from_code(codes.SCT.MorphologicallyAbnormalStructure)
LESION = CodedConcept.from_code(codes.SCT.Lesion)
WHITE_MATTER = CodedConcept.from_code(codes.SCT.CerebralWhiteMatter)
BRAIN = CodedConcept.from_code(codes.SCT.Brain)
VOLUME = CodedConcept.from_code(codes.SCT.Volume)
NUMBER_OF_LESIONS = CodedConcept.from_code(codes.SCT.NumberOfLesions)
PERCENT_OF_BRAIN = CodedConcept(
    "percent_of_brain", PRIVATE_SCHEME, "Volume in percent of the brain"
)
BRAIN_MRI = CodedConcept.from_code(codes.LN.BrainMRI)
ARTIFICIAL_INTELLIGENCE = CodedConcept.from_code(codes.DCM.ArtificialIntelligence)
DEVICE = CodedConcept.from_code(codes.DCM.Device)
COMMENT = CodedConcept.from_code(codes.DCM.Comment)
REPORT_TITLE = CodedConcept.from_code(codes.DCM.ImagingMeasurementReport)

MILLILITER = CodedConcept("mL", "UCUM", "milliliter")
PERCENT = CodedConcept("%", "UCUM", "percent")
COUNT = CodedConcept("1", "UCUM", "no units")

_SITES = {
    "periventricular": "White matter within 10 mm of the lateral ventricles",
    "deep": "White matter neither periventricular nor juxtacortical",
    "juxtacortical": "White matter within 4 mm of the cortex",
    "infratentorial": "Brain stem and cerebellum",
}


def private_scheme() -> Dataset:
    """Return who is responsible for the private codes."""
    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE_SCHEME
    scheme.CodingSchemeName = "Codes of wmh-lora; its documentation lists them"
    scheme.CodingSchemeResponsibleOrganization = "wmh-lora"
    return scheme


def type_of_output(output: str) -> CodedConcept:
    """Return the code of what an output shows; for another one than `wmh`, that of a lesion."""
    return WHITE_MATTER_HYPERINTENSITY if output == "wmh" else LESION


def site_of_location(location: str) -> CodedConcept:
    """Return the private code of a location, as `postprocessing/locations.py` defines it."""
    return CodedConcept(location, PRIVATE_SCHEME, _SITES[location])
