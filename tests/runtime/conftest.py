"""A bundle and scans small enough to know every number by hand."""

from pathlib import Path

import nibabel as nib
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from wmh_runtime.bundle import Graph, Manifest, Output, Parity, sha256_of
from wmh_runtime.prepare import Preparation

TOY_SIZE_PX = 32
PARITY = Parity(
    reference="itself",
    backend="itself",
    slices=1,
    max_abs_difference=0,
    mean_abs_difference=0,
    mask_dice=1,
)


def write_toy_bundle(folder: Path, *, channels=("flair",), outputs=("wmh",)) -> Path:
    """A bundle whose network is the logistic function of the first channel, for each output."""
    (folder / "graphs").mkdir(parents=True)
    shape_in = ["N", len(channels), TOY_SIZE_PX, TOY_SIZE_PX]
    shape_out = ["N", len(outputs), TOY_SIZE_PX, TOY_SIZE_PX]
    first = helper.make_tensor("first", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("Gather", ["slices", "first"], ["one"], axis=1),
        helper.make_node("Concat", ["one"] * len(outputs), ["all"], axis=1),
        helper.make_node("Sigmoid", ["all"], ["probability"]),
    ]
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info("slices", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("probability", TensorProto.FLOAT, shape_out)],
        [first],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    graphs = []
    for views in (1, 8):
        path = folder / "graphs" / f"{views}-view.fp32.onnx"
        onnx.save_model(model, path)
        graphs.append(
            Graph(
                path=f"graphs/{path.name}",
                sha256=sha256_of(path),
                precision="fp32",
                views=views,
                parity=PARITY,
            )
        )
    manifest = Manifest(
        name="toy",
        channels=list(channels),
        outputs=[Output(name=name, threshold=0.75, min_lesion_mm3=20) for name in outputs],
        preparation=Preparation(pixel_size_mm=4.0, size_px=TOY_SIZE_PX),
        calibration={"by": "hand"},
        graphs=graphs,
        weights=[],
        training={"data": "none"},
        tools={},
        licence="Apache-2.0",
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def write_head(path: Path, *, lesions: int = 1, affine=None, seed: int = 0) -> Path:
    """A head of 24 × 30 × 6 voxels of 4 × 4 × 5 mm, with cubes of 2 × 2 × 2 voxels as lesions."""
    rng = np.random.default_rng(seed)
    voxels = rng.normal(0, 2, (24, 30, 6)).clip(0)
    x, y = np.ogrid[:24, :30]
    voxels[((x - 12) / 10) ** 2 + ((y - 15) / 12) ** 2 <= 1] += 100
    for lesion in range(lesions):
        voxels[8:10, 6 + 4 * lesion : 8 + 4 * lesion, 2:4] = 300
    if affine is None:
        affine = np.diag([-4.0, -4.0, 5.0, 1.0])
        affine[:3, 3] = (47, 61, -12)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels.astype(np.float32), affine), path)
    return path


@pytest.fixture
def toy_bundle(tmp_path):
    return write_toy_bundle(tmp_path / "bundle")
