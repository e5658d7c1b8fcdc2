"""A bundle, heads and a recipe whose numbers are known by hand or that train in seconds."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import onnx
from onnx import TensorProto, helper

from wmh_runtime.bundle.manifest import Calibration, Choice, File, Graph, Manifest, Training
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.conformance.probe_slices import ProbeSlices
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.imageio.volume import Scan
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_train.checkpoint import CheckpointFacts, Provenance, ValidationDice
from wmh_train.data.layouts import find_data
from wmh_train.data.split import Split, split_scans
from wmh_train.loop.fit import FitData
from wmh_train.model.base import BaseIdentity
from wmh_train.model.random_base import write_random_base
from wmh_train.recipe.recipe import Recipe, load_recipe

TOY_SIZE_PX = 32


def perfect_parity(views=8, **changes) -> Parity:
    """Of a graph that is the network itself."""
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
        "found_ml": 1,
        "differing_pixels": 100,
    }
    output |= {key: changes.pop(key) for key in list(changes) if key in output}
    return Parity.model_validate(facts | {"outputs": [output]} | changes)


def toy_calibration(outputs=("wmh",)) -> Calibration:
    """Cut at 0.75 where eight views are seen and at 0.8 in one; below 0.6 in one is empty."""
    choices = [
        Choice(
            views=views,
            outputs=[Output(name=name, threshold=cut, min_lesion_mm3=20) for name in outputs],
            mean_dice=[0.5] * len(outputs),
            mean_lesion_f1=[0.5] * len(outputs),
        )
        for views, cut in ((8, 0.75), (1, 0.8))
    ]
    empty_below = [0.6] * len(outputs)
    return Calibration(choices=choices, empty_below=empty_below, scans=1, lesion_f1_weight=0)


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
                sha256=sha256_file(path),
                precision="fp32",
                views=views,
                weights=None,
                parity=[perfect_parity(views)],
            )
        )
    write_toy_answers(folder / "reference_outputs.npz", len(channels), len(outputs))
    manifest = Manifest(
        name="toy",
        channels=list(channels),
        outputs=toy_calibration(outputs).outputs,
        preprocessing=Preprocessing(
            pixel_size_mm=4.0, size_px=TOY_SIZE_PX, clip_percentiles=(0, 100)
        ),
        calibration=toy_calibration(outputs),
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
        tools={},
        license="Apache-2.0",
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json(), encoding="utf-8")
    return folder


def write_toy_answers(path: Path, channels: int, outputs: int) -> None:
    """What the toy network says of two slices with a bright square each."""
    slices = np.full((2, channels, TOY_SIZE_PX, TOY_SIZE_PX), -4, np.float32)
    slices[:, :, 8:16, 8:20] = 4
    probability = np.repeat(1 / (1 + np.exp(-slices[:, :1])), outputs, axis=1)
    pixel_ml = np.full(2, 0.08, np.float32)  # 4 × 4 × 5 mm
    questions = ProbeSlices("phantoms", slices, pixel_ml)
    ReferenceOutputs(questions, {1: probability, 8: probability[:1]}, {}).save(path)


def as_scan(voxels, affine, name="memory.nii") -> Scan:
    """A scan that was never on disk."""
    return Scan(
        path=Path(name),
        voxels=np.asarray(voxels, np.float32),
        affine=np.asarray(affine, np.float64),
        header=None,
        sha256="",
        warnings=(),
    )


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


def write_annotated_heads(folder: Path, count: int, *, channels=("FLAIR",), outputs=("WMH",)):
    """Heads of `write_head` with their cubes as references, as `wmh-train` expects them."""
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


# A SAM-type network that trains and exports in seconds.
SMALL_RECIPE: dict[str, Any] = {
    "name": "small",
    "preprocessing": {"pixel_size_mm": 4.0, "size_px": 64, "clip_percentiles": [0, 100]},
    "network": {
        "encoder": {
            "width": 16,
            "depth": 2,
            "heads": 2,
            "patch_px": 4,
            "window_tokens": 4,
            "global_blocks": [1],
            "neck_channels": 8,
            "trained": True,
        },
        "decoder": {"widths": [8, 4], "detail_width": 4},
    },
    "data": {"empty_slices": 0.5, "validation_share": 0.3, "test_share": 0.0},
    "loss": {"scale_weights": [0.2, 0.1]},
    "optimizer": {"learning_rate": 5e-3, "mixed_precision": "no"},
    "schedule": {
        "epochs": 2,
        "warmup_epochs": 0.5,
        "restart_epochs": 1,
        "lowest_learning_rate": 5e-6,
        "batch_size": 4,
        "slices_at_once": 4,
        "seed": 3,
    },
}


def small_recipe(**changes) -> Recipe:
    return Recipe.model_validate(SMALL_RECIPE | changes)


def lora_recipe(*, dropout: float = 0.5, **schedule) -> Recipe:
    """The small network with a frozen encoder, which needs `write_small_base`, and LoRA in it."""
    network = SMALL_RECIPE["network"]
    encoder = network["encoder"] | {"trained": False, "neck_channels": 16}  # SAM's least
    lora = {"ranks": {"qkv": 4, "lin1": 2}, "dropout": dropout}
    return small_recipe(
        network=network | {"encoder": encoder, "lora": lora},
        schedule=SMALL_RECIPE["schedule"] | schedule,
    )


def write_small_base(path: Path) -> Path:
    """Weights in MedSAM's format for the encoder of `lora_recipe`."""
    write_random_base(path, lora_recipe().network.encoder, seed=0)
    return path


def method_on_small_slices() -> Recipe:
    """The method's own recipe, but for slices of 4 × 4 tokens and a single epoch."""
    recipe = load_recipe("wmh-lora")
    changes = {"epochs": 1, "warmup_epochs": 0.5, "batch_size": 4, "slices_at_once": 2}
    return recipe.model_copy(
        update={
            "preprocessing": Preprocessing(pixel_size_mm=4, size_px=64, clip_percentiles=(0, 100)),
            "data": recipe.data.model_copy(update={"validation_share": 0.3, "test_share": 0.0}),
            "schedule": recipe.schedule.model_copy(update=changes),
        }
    )


def facts_of(recipe: Recipe, base: BaseIdentity | None = None) -> CheckpointFacts:
    """Facts of a finished checkpoint that nobody trained."""
    return CheckpointFacts(
        recipe=recipe,
        base=base,
        identity="",
        scan_keys={},
        split=Split(training=["a"], validation=["b"], test=[]),
        epoch=1,
        finished=True,
        validation=ValidationDice(mean=0.5, by_site={"": 0.5}),
        provenance=Provenance(
            data="Nothing", parameters=1, trained_parameters=1, training_slices=1, details={}
        ),
    )


def fit_data(folder: Path, recipe: Recipe) -> FitData:
    """All heads of a folder, split as the recipe says."""
    found = find_data(folder, recipe.channels, recipe.outputs)
    split = split_scans(found.scans, recipe.data, recipe.schedule.seed)
    return FitData(found.name, found.scans, split)


def write_toml(path: Path, table: dict[str, Any]) -> Path:
    """A file of nested tables: TOML's strings, numbers, truths and lists are JSON's."""
    lines: list[str] = []

    def write(name: str, values: dict[str, Any]) -> None:
        lines.extend([f"[{name}]"] if name else [])
        plain = {k: v for k, v in values.items() if not isinstance(v, dict) and v is not None}
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in plain.items())
        for key, value in values.items():
            if isinstance(value, dict):
                write(f"{name}.{key}" if name else key, value)

    write("", table)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
