"""A small bundle, heads and recipe with known numbers, which train in seconds."""

from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
from onnx import TensorProto, helper

from wmh_runtime.bundle.accuracy import MeasuredAccuracy
from wmh_runtime.bundle.calibration import Calibration, OperatingPoint
from wmh_runtime.bundle.manifest import File, Graph, Manifest
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.bundle.training_record import Training
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.preprocessing.preprocess import Preprocessing

TOY_SIZE_PX = 32


def perfect_parity(views=8, **changes) -> Parity:
    """The parity of a graph that is identical to the network."""
    facts = {
        "backend": "itself",
        "precision": "fp32",
        "views": views,
        "emulated": False,
        "data": "phantoms",
        "slices": 1,
        "max_abs_difference": 0,
        "mean_abs_difference": 0,
    }
    output = {
        "name": "wmh",
        "mask_dice": 1,
        "reference_ml": 1,
        "backend_ml": 1,
        "differing_pixels": 100,
    }
    output |= {key: changes.pop(key) for key in list(changes) if key in output}
    return Parity.model_validate(facts | {"outputs": [output]} | changes)


def toy_calibration(outputs=("wmh",)) -> Calibration:
    """Thresholds: 0.75 for eight views, 0.8 for one. Empty slices: below 0.6 in the first view."""
    operating_points = [
        OperatingPoint(
            views=views,
            outputs=[Output(name=name, threshold=threshold, min_lesion_mm3=20) for name in outputs],
            mean_dice=[0.8] * len(outputs),
            mean_lesion_f1=[0.7] * len(outputs),
        )
        for views, threshold in ((8, 0.75), (1, 0.8))
    ]
    return Calibration(
        operating_points=operating_points,
        empty_slice_thresholds=[0.6] * len(outputs),
        scans=20,
    )


def write_toy_bundle(
    folder: Path,
    *,
    channels=("flair",),
    outputs=("wmh",),
    interchangeable=False,
    regions=(),
    planes=("axial",),
) -> Path:
    """Write a bundle whose network is the logistic function of its brightest channel.

    Regions are everywhere.
    """
    (folder / "graphs").mkdir(parents=True)
    shape_in = ["N", len(channels), TOY_SIZE_PX, TOY_SIZE_PX]
    targets = [*outputs, *regions]
    shape_out = ["N", len(targets), TOY_SIZE_PX, TOY_SIZE_PX]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMax", ["slices", "axes"], ["one"], keepdims=1),
        helper.make_node("Mul", ["one", "one"], ["square"]),
        helper.make_node(
            "Concat", ["one"] * len(outputs) + ["square"] * len(regions), ["all"], axis=1
        ),
        helper.make_node("Sigmoid", ["all"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape_out)],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    graphs = []
    for views in (1, 8):
        path = folder / "graphs" / f"{views}-view.fp32.onnx"
        onnx.save_model(model, path)
        graphs.append(
            Graph(
                path=f"graphs/{path.name}",
                sha256=sha256_file(path),
                precision="fp32",
                views=views,
                weights=None,
                parity=[perfect_parity(views)],
            )
        )
    write_toy_reference_outputs(
        folder / "reference_outputs.npz", len(channels), len(outputs), len(regions)
    )
    manifest = Manifest(
        name="toy",
        channels=list(channels),
        interchangeable=interchangeable,
        regions=list(regions),
        preprocessing=Preprocessing(
            pixel_size_mm=4.0, size_px=TOY_SIZE_PX, clip_percentiles=(0, 100), planes=planes
        ),
        calibration=toy_calibration(outputs),
        accuracy=MeasuredAccuracy(
            data="toy scans", scans=20, mean_dice=0.8, lowest_dice=0.7, threshold_mean_dice=None
        ),
        graphs=graphs,
        weights=[],
        reference_outputs=File(
            path="reference_outputs.npz", sha256=sha256_file(folder / "reference_outputs.npz")
        ),
        training=Training(
            data="none",
            training_scans=0,
            validation_scans=0,
            training_slices=0,
            parameters=0,
            trained_parameters=0,
            details={},
        ),
        library_versions={},
        license="Apache-2.0",
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def write_toy_reference_outputs(path: Path, channels: int, outputs: int, regions: int = 0) -> None:
    """Outputs of the toy network for two slices with a bright square each."""
    slices = np.full((2, channels, TOY_SIZE_PX, TOY_SIZE_PX), -4, np.float32)
    slices[:, :, 8:16, 8:20] = 4
    brightest = slices.max(axis=1, keepdims=True)
    logits = np.concatenate([brightest] * outputs + [brightest**2] * regions, axis=1)
    probability = 1 / (1 + np.exp(-logits))
    pixel_ml = np.full(2, 0.08, np.float32)  # 4 × 4 × 5 mm
    probes = ProbeSlices("phantoms", slices, pixel_ml)
    thresholds = {f"output{index}": 0.5 for index in range(outputs + regions)}
    ReferenceOutputs(probes, {1: probability, 8: probability[:1]}, thresholds).save(path)


def as_scan(voxels, affine, name="memory.nii") -> Scan:
    """Return a scan in memory."""
    return Scan(
        path=Path(name),
        voxels=np.asarray(voxels, np.float32),
        affine=np.asarray(affine, np.float64),
        header=None,
        sha256="",
        warnings=(),
    )


def write_head(path: Path, *, lesions: int = 1, affine=None, seed: int = 0) -> Path:
    """Write a head of 24 × 30 × 6 voxels of 4 × 4 × 5 mm, with lesions of 2 × 2 × 2 voxels.

    Lesions are more than 8 mm from the surface. A head without lesions has a dark ventricle, so
    that its noise is not taken for lesions.
    """
    rng = np.random.default_rng(seed)
    voxels = rng.normal(0, 2, (24, 30, 6)).clip(0)
    x, y = np.ogrid[:24, :30]
    voxels[((x - 12) / 10) ** 2 + ((y - 15) / 12) ** 2 <= 1] += 100
    if not lesions:
        voxels[11:14, 19:23] = 5
    for lesion in range(lesions):
        voxels[10:12, 6 + 4 * lesion : 8 + 4 * lesion, 2:4] = 300
    if affine is None:
        affine = np.diag([-4.0, -4.0, 5.0, 1.0])
        affine[:3, 3] = (47, 61, -12)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)
    return path


def write_annotated_heads(folder: Path, count: int, *, channels=("FLAIR",), outputs=("WMH",)):
    """Write heads of `write_head` with reference masks, in the layout of `wmh-train`."""
    for number in range(count):
        name, lesions = f"sub-{number:02d}", 1 + number % 3
        for channel, suffix in enumerate(channels):
            path = folder / f"{name}_{suffix}.nii.gz"
            write_head(path, lesions=lesions, seed=10 * number + channel)
        image = nib.load(path)
        for output in outputs:
            reference = folder / "derivatives" / "reference" / f"{name}_label-{output}_mask.nii.gz"
            reference.parent.mkdir(parents=True, exist_ok=True)
            mask = (image.get_fdata() > 200).astype(np.uint8)
            nib.save(nib.Nifti1Image(mask, image.affine), reference)
    return folder
