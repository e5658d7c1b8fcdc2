"""Segment white matter hyperintensities in FLAIR MRI, without PyTorch.

    import nibabel
    from wmh_runtime import Segmenter, load_bundle, segment_folder

    bundle = load_bundle()
    with Segmenter.from_bundle(bundle) as segmenter:
        wmh = segmenter.segment(nibabel.load("flair.nii.gz"))["wmh"]
    print(wmh.volume_ml, wmh.mask.shape, wmh.probability.max())

    segment_folder("scans", "results", bundle)

Everything named here is the public interface; docs/python.md explains it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from wmh_runtime.errors import (
    BackendError,
    BundleError,
    DeviceLostError,
    InputError,
    InterruptionError,
    NoGpuError,
    NotInstalledError,
    UnexpectedError,
    WmhError,
)

if TYPE_CHECKING:
    from wmh_runtime.bundle.bundle import Bundle, load_bundle
    from wmh_runtime.cohort.job import Outcome, Progress
    from wmh_runtime.cohort.plan import FolderOptions
    from wmh_runtime.cohort.segment_folder import segment_folder
    from wmh_runtime.imageio.volume import Scan, scan_from_array
    from wmh_runtime.inference.options import InferenceOptions
    from wmh_runtime.inference.segmenter import Segmenter
    from wmh_runtime.postprocessing.postprocess import OutputResult, Segmentation

__all__ = [
    "BackendError",
    "Bundle",
    "BundleError",
    "DeviceLostError",
    "FolderOptions",
    "InferenceOptions",
    "InputError",
    "InterruptionError",
    "NoGpuError",
    "NotInstalledError",
    "Outcome",
    "OutputResult",
    "Progress",
    "Scan",
    "Segmentation",
    "Segmenter",
    "UnexpectedError",
    "WmhError",
    "load_bundle",
    "scan_from_array",
    "segment_folder",
]

# ONNX Runtime would keep an identity of the machine and a list of sessions, from its import on.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# Loaded at first use: importing a single module, as the command lines do, stays fast.
_MODULE_OF = {
    "Bundle": "bundle.bundle",
    "FolderOptions": "cohort.plan",
    "InferenceOptions": "inference.options",
    "Outcome": "cohort.job",
    "OutputResult": "postprocessing.postprocess",
    "Progress": "cohort.job",
    "Scan": "imageio.volume",
    "Segmentation": "postprocessing.postprocess",
    "Segmenter": "inference.segmenter",
    "load_bundle": "bundle.bundle",
    "scan_from_array": "imageio.volume",
    "segment_folder": "cohort.segment_folder",
}


def __getattr__(name: str) -> Any:
    """Load a public name at its first use."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
