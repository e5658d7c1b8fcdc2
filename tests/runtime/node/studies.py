"""Studies to send to a node, and what comes of them."""

import pydicom

from tests.runtime.dicom.head_series import head_images
from tests.runtime.dicom.series_toys import person

KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.7",
}


def done(node) -> float:
    return node.count('wmh_node_studies_total{outcome="done"}')


def heads(folder, count, **changes):
    """Series of different patients."""
    return [
        head_images(folder / str(n), who=person(f"MRN-{n}", name="Curie^Marie"), seed=n, **changes)
        for n in range(count)
    ]


def results_of(folder, series):
    """The files of results of a series, by SOP class."""
    found = {}
    for path in folder.glob("[!.]*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.StudyInstanceUID == series[0].StudyInstanceUID:
            found[dataset.SOPClassUID] = dataset
    return found
