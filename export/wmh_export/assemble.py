"""A calibrated checkpoint becomes a bundle, and only one whose graphs agree with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from wmh_export.card import model_card
from wmh_export.graph import WEIGHTS_NAME, save_sharing_weights, trace
from wmh_export.merge import merge_lora
from wmh_export.parity import measure_parity, parity_slices, require_parity
from wmh_runtime.atomic import write_text_atomically
from wmh_runtime.backends.onnxruntime import OnnxRuntimeBackend
from wmh_runtime.bundle import (
    MANIFEST_NAME,
    Bundle,
    File,
    Graph,
    Manifest,
    Parity,
    Training,
    open_bundle,
    sha256_of,
)
from wmh_runtime.errors import ExportError
from wmh_runtime.folders import make_writable_folder
from wmh_runtime.phantom.cohort import DATA_SET_NAME
from wmh_runtime.types import Floats, Views
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import CheckpointFacts, load_facts, load_network
from wmh_train.model.network import WmhNetwork
from wmh_train.model.views import EightViews, OneView
from wmh_train.recipe import Recipe

GRAPHS = "graphs"
CARD_NAME = "MODEL_CARD.md"
_TOOLS = ("wmh-lora", "torch", "onnx", "onnxscript")
_NO_LICENCE = "not stated"
_PHANTOM_CAUTION = "Trained on made-up heads: on scans of patients its masks mean nothing"
_VIEWS: tuple[Views, ...] = (1, 8)


def build(
    checkpoint: Path,
    out: Path,
    on_step: Callable[[str], None],
    *,
    base: Path | None = None,
    name: str = "",
    caution: str = "",
    licence: str = "",
) -> Bundle:
    """Export a checkpoint: merge, trace, compare, write. `out` appears whole or not at all.

    Args:
        checkpoint: calibrated.
        out: bundle folder; must not exist.
        on_step: is told each step.
        base: the weights that a frozen encoder was trained on.
        name: of the bundle; empty takes the recipe's.
        caution: a warning that every result shall bear; empty is none, but for a network that
            learned from phantoms.
        licence: under which the weights are given; empty says that it is not stated.

    Raises:
        RecipeError: the checkpoint cannot be read.
        ExportError: it is not calibrated, `out` exists, or a graph does not agree.
        BackendError: ONNX Runtime is not installed.
    """
    if out.exists():
        raise ExportError("exists already", "Choose another folder or remove it.", about=out)
    facts = load_facts(checkpoint)
    if facts.calibration is None:
        raise ExportError(
            "is not calibrated", f"Run: wmh-train calibrate {checkpoint} --data …", about=checkpoint
        )
    make_writable_folder(out.parent)
    partial = Path(tempfile.mkdtemp(prefix=".wmh-partial-", dir=out.parent))
    try:
        on_step("merging")
        network = merge_lora(load_network(checkpoint, facts, base))
        _write_graphs(network, facts.recipe, partial / GRAPHS, on_step)
        slices = parity_slices(facts.recipe.preparation, len(facts.recipe.channels))
        parity = {}
        for views in _VIEWS:
            on_step(f"comparing the {views}-view graph with PyTorch")
            parity[views] = _compare(network, facts, partial / GRAPHS, views, slices)
        if not caution and facts.provenance.data == DATA_SET_NAME:
            caution = _PHANTOM_CAUTION
        manifest = _manifest(
            facts,
            partial,
            parity,
            name=name or facts.recipe.name,
            caution=caution,
            licence=licence or _NO_LICENCE,
        )
        write_text_atomically(partial / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
        write_text_atomically(partial / CARD_NAME, model_card(manifest))
        partial.chmod(0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return open_bundle(out)


def _write_graphs(
    network: WmhNetwork, recipe: Recipe, folder: Path, on_step: Callable[[str], None]
) -> None:
    folder.mkdir()
    models = {}
    for views in _VIEWS:
        on_step(f"tracing {views} view(s)")
        module = EightViews(network) if views > 1 else OneView(network)
        models[_graph_name(views)] = trace(module, len(recipe.channels), recipe.preparation.size_px)
    save_sharing_weights(models, folder)


def _compare(
    network: WmhNetwork, facts: CheckpointFacts, graphs: Path, views: Views, slices: Floats
) -> Parity:
    assert facts.calibration is not None
    thresholds = [output.threshold for output in facts.calibration.outputs]
    with (
        TorchBackend(network, facts.recipe, views=views) as reference,
        OnnxRuntimeBackend(graphs / _graph_name(views), reference.shape) as candidate,
    ):
        parity = measure_parity(reference, candidate, slices, thresholds)
    require_parity(parity, f"{views}-view fp32")
    return parity


def _manifest(
    facts: CheckpointFacts,
    folder: Path,
    parity: dict[Views, Parity],
    *,
    name: str,
    caution: str,
    licence: str,
) -> Manifest:
    assert facts.calibration is not None
    recipe, calibration = facts.recipe, facts.calibration
    return Manifest(
        name=name,
        caution=caution,
        licence=licence,
        channels=recipe.channels,
        outputs=calibration.outputs,
        preparation=recipe.preparation,
        calibration=calibration.model_dump(exclude={"surface"}),
        graphs=[
            Graph(
                path=f"{GRAPHS}/{_graph_name(views)}",
                sha256=sha256_of(folder / GRAPHS / _graph_name(views)),
                precision="fp32",
                views=views,
                parity=parity[views],
            )
            for views in _VIEWS
        ],
        weights=[
            File(path=f"{GRAPHS}/{WEIGHTS_NAME}", sha256=sha256_of(folder / GRAPHS / WEIGHTS_NAME))
        ],
        training=Training(
            **facts.provenance.model_dump(exclude={"details"}),
            training_scans=len(facts.split.training),
            validation_scans=len(facts.split.validation),
            details={
                **facts.provenance.details,
                "recipe": recipe.model_dump(mode="json", exclude={"preparation"}),
            },
        ),
        tools={tool: version(tool) for tool in _TOOLS},
    )


def _graph_name(views: Views) -> str:
    return f"{views}-view.fp32.onnx"
