"""Where the results of a scan, and the table of all results, go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wmh_runtime.dataset import bids
from wmh_runtime.imageio.nifti_reader import is_written_by_us
from wmh_runtime.postprocessing.parcellation import ATLAS_SCHEME, BRAIN_SCHEME

_DICOM_KINDS = ("seg", "probseg", "sc", "sr")
VOLUMES_NAME = "volumes.csv"  # in each output folder, not in its subfolders
STATE_FOLDER = Path(".wmh")  # likewise: what runs on the folder tell each other
CLAIMS_FOLDER = STATE_FOLDER / "claims"  # which run works on which scan


@dataclass(frozen=True)
class Extras:
    """Files that are only written on request."""

    probability: bool = False
    viewer: bool = False
    dicom: bool = False  # of scans that are from DICOM
    regions: bool = False  # the pictures then show outlines of them, too


NO_EXTRAS = Extras()


@dataclass(frozen=True)
class LabelMapPaths:
    """An image of numbers: of regions in one scheme, or of lesions."""

    image: Path

    @property
    def table(self) -> Path:
        """The table of the numbers."""
        return bids.table_of_image(self.image)

    @property
    def sidecar(self) -> Path:
        """The JSON file that describes image and table."""
        return bids.sidecar_of(self.image)

    @property
    def files(self) -> tuple[Path, ...]:
        """All files, in the order in which they are written."""
        return self.image, self.table, self.sidecar

    @property
    def hold_foreign_files(self) -> bool:
        """Whether there is an image that this program did not write."""
        return self.image.exists() and not is_written_by_us(self.image)


@dataclass(frozen=True)
class DicomPaths:
    """The DICOM files of one output of one scan."""

    segmentation: Path
    probability: Path
    picture: Path
    report: Path  # is written last

    @property
    def files(self) -> tuple[Path, ...]:
        """All files."""
        return tuple(self.by_kind.values())

    @property
    def by_kind(self) -> dict[str, Path]:
        """All files, by what they hold."""
        return {
            "segmentation": self.segmentation,
            "probability": self.probability,
            "picture": self.picture,
            "report": self.report,
        }


@dataclass(frozen=True)
class OutputPaths:
    """The files of one output of one scan."""

    mask: Path
    lesions: LabelMapPaths
    probability: Path
    picture: Path
    slices: Path  # pictures of a few slices, in layers
    viewer: Path  # page
    regions: Path  # table
    dicom: DicomPaths
    sidecar: Path

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that there may be, but for the sidecar."""
        of_images = (*self.lesions.files, self.probability, bids.sidecar_of(self.probability))
        tables = (self.regions, bids.sidecar_of(self.regions))
        pages = (self.picture, self.slices, self.viewer)
        return (self.mask, *of_images, *tables, *pages, *self.dicom.files)

    @property
    def hold_foreign_files(self) -> bool:
        """Whether there are files here that an interrupted run of this program did not leave.

        The mask is written first and carries our mark; the sidecar is written last.
        """
        if self.mask.exists():
            return not is_written_by_us(self.mask)
        others = (self.probability, self.picture, self.lesions.image)
        return any(path.exists() for path in others)


def output_paths(out: Path, relative: Path, output: str) -> OutputPaths:
    """Name the files of one output.

    Args:
        out: output folder.
        relative: path of the scan below the input folder.
        output: name of the output, such as `wmh`.
    """
    return _output_paths(out / relative.parent, bids.bids_entities(relative), output)


def paths_of_sidecar(sidecar: Path, output: str) -> OutputPaths:
    """Name the files of one output, from the path of its sidecar as it is on disk."""
    entities = sidecar.name.removesuffix(bids.sidecar_name("", output))
    return _output_paths(sidecar.parent, entities, output)


def _output_paths(folder: Path, entities: str, output: str) -> OutputPaths:
    return OutputPaths(
        mask=folder / bids.mask_name(entities, output),
        lesions=LabelMapPaths(folder / bids.lesions_name(entities, output)),
        probability=folder / bids.probability_name(entities, output),
        picture=folder / bids.qc_image_name(entities, output),
        slices=folder / bids.slices_name(entities, output),
        viewer=folder / bids.viewer_name(entities, output),
        regions=folder / bids.region_table_name(entities, output),
        dicom=DicomPaths(
            *(folder / bids.dicom_name(entities, output, kind) for kind in _DICOM_KINDS)
        ),
        sidecar=folder / bids.sidecar_name(entities, output),
    )


def region_paths(out: Path, relative: Path) -> dict[str, LabelMapPaths]:
    """Name the files of the regions in each scheme: those of the network, and of an atlas.

    Args:
        out: output folder.
        relative: path of the scan below the input folder.
    """
    folder, entities = out / relative.parent, bids.bids_entities(relative)
    return {
        scheme: LabelMapPaths(folder / bids.segmentation_name(entities, scheme))
        for scheme in (BRAIN_SCHEME, ATLAS_SCHEME)
    }
