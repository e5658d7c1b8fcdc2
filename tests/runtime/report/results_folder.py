"""Made-up results: an output folder without a network."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np

from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.tables import read_table
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.outputs.folder_results import read_results
from wmh_runtime.outputs.paths import output_paths
from wmh_runtime.outputs.pictures.slice_layers import SlicePictures, slice_pictures
from wmh_runtime.outputs.reviews import REVIEWS_NAME, read_reviews
from wmh_runtime.outputs.settings import Settings
from wmh_runtime.outputs.sidecar import Lesion, RegionResult, Sidecar
from wmh_runtime.outputs.tables.results import FAILURES_NAME
from wmh_runtime.postprocessing.burden import Burden
from wmh_runtime.postprocessing.lesions import Output, find_lesions
from wmh_runtime.postprocessing.postprocess import OutputResult
from wmh_runtime.report.page import write_report

AFFINE = np.diag([4.0, 4.0, 6.0, 1.0])  # RAS
SHAPE = (40, 48, 20)


def made_up_scan(affine=AFFINE) -> Scan:
    """A bright ellipsoid: the head, with two lesions."""
    x, y, z = np.indices(SHAPE)
    inside = ((x - 20) / 17) ** 2 + ((y - 24) / 21) ** 2 + ((z - 10) / 9) ** 2 < 1
    voxels = np.where(inside, 100.0, 0.0)
    voxels[made_up_lesions()] = 180.0
    return Scan(
        path=Path("sub-1_FLAIR.nii.gz"),
        voxels=np.asfortranarray(voxels, np.float32),
        affine=affine,
        header=nibabel.Nifti1Header(),
        sha256="0" * 64,
        warnings=(),
    )


def made_up_lesions():
    lesions = np.zeros(SHAPE, bool)
    lesions[12:16, 20:26, 9:12] = True
    lesions[25, 30, 14] = True
    return lesions


def result_of(mask, probability=None) -> OutputResult:
    """The result for one output with exactly this mask."""
    probability = mask.astype(np.float32) * np.float32(0.9) if probability is None else probability
    lesions = find_lesions(
        mask.astype(np.float32), threshold=0.5, min_lesion_mm3=0, voxel_volume_mm3=96
    )
    return OutputResult(
        Output(name="wmh", threshold=0.5, min_lesion_mm3=0), probability, lesions, Burden()
    )


def made_up_pictures(mask_sha256="") -> SlicePictures:
    scan = made_up_scan()
    head = scan.voxels > 0
    regions = {"brain": head, "ventricles": np.roll(made_up_lesions(), 8, axis=0)}
    return slice_pictures(scan, head, result_of(made_up_lesions()), regions, mask_sha256)


def write_result(
    out: Path,
    name: str,
    *,
    volume_ml: float = 7.5,
    output: str = "wmh",
    warnings: tuple[str, ...] = (),
    pictures: SlicePictures | None = None,
    facts: dict | None = None,
) -> Sidecar:
    """Write mask, sidecar and, if given, pictures of a scan such as `sub-1_FLAIR.nii.gz`."""
    to = output_paths(out, Path(name), output)
    to.mask.parent.mkdir(parents=True, exist_ok=True)
    to.mask.write_bytes(f"{name} {output}".encode("utf-8", "surrogateescape"))
    sidecar = Sidecar(
        **{
            "Description": "",
            "SpatialReference": "orig",
            "Sources": [as_text(Path(name).name)],
            "input_sha256": f"{name}".encode("utf-8", "surrogateescape").hex(),
            "mask_sha256": sha256_file(to.mask),
            "settings": settings_of(output),
            "volume_ml": volume_ml,
            "lesion_count": 2,
            "lesions": [
                Lesion(
                    volume_mm3=900 * volume_ml,
                    center_ras_mm=(1, -2.4, 3),
                    location="deep",
                    side="left",
                ),
                Lesion(volume_mm3=100 * volume_ml, center_ras_mm=(0, 0, 0)),
            ],
            "percent_of_brain": volume_ml / 12,
            "regions": [region("periventricular", volume_ml), region("deep", 0.0)],
            "slices": 20,
            "slices_executed": 18,
            "slices_in_all_views": 18,
            "warnings": list(warnings),
            "versions": {"wmh-lora": "0.1.0"},
            "seconds": {"predict": 2.0},
        }
        | (facts or {})
    )
    if pictures is not None:
        own = pictures.model_copy(update={"mask_sha256": sidecar.mask_sha256})
        to.slices.write_text(own.model_dump_json())
    to.sidecar.write_text(sidecar.model_dump_json())
    return sidecar


def settings_of(output: str) -> Settings:
    return Settings(
        model_id="0123456789abcdef",
        bundle="toy",
        output=Output(name=output, threshold=0.5, min_lesion_mm3=3),
        backend="onnxruntime",
        device="cpu",
        precision="fp32",
        tta="none",
    )


def region(name: str, lesion_ml: float) -> RegionResult:
    return RegionResult(
        scheme="location_10mm",
        region=name,
        side="",
        region_ml=None,
        lesion_ml=lesion_ml,
        lesion_count=1,
    )


def as_text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()


def report_of(out, **options):
    """Write the report of a folder, with the marks in it, as a run does."""
    reviews = read_reviews(out / REVIEWS_NAME, is_optional=True)
    table = out / FAILURES_NAME
    failed = {row["scan"] for row in read_table(table)} if table.exists() else ()
    return write_report(out, read_results(out, reviews, failed), reviews, **options)
