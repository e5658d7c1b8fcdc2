"""A calibrated checkpoint becomes a bundle, of graphs that are proven to be its network."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from wmh_export.card import model_card
from wmh_export.merge import merge
from wmh_export.precisions import GraphWriter, Proof, Written
from wmh_export.quantise import Quantiser
from wmh_export.rewrite import rewrite
from wmh_runtime.answers import Answers, ask
from wmh_runtime.atomic import write_text_atomically
from wmh_runtime.backends.select import installed_backends
from wmh_runtime.bundle import (
    ANSWERS_NAME,
    CARD_NAME,
    MANIFEST_NAME,
    Bundle,
    open_bundle,
    sha256_of,
)
from wmh_runtime.errors import BackendError, ExportError
from wmh_runtime.folders import make_writable_folder
from wmh_runtime.manifest import File, Manifest, Quantisation, Training
from wmh_runtime.parity import Data, measure_parity
from wmh_runtime.phantom.cohort import DATA_SET_NAME
from wmh_runtime.questions import (
    CALIBRATION_SEED,
    PARITY_SEED,
    Questions,
    phantom_questions,
    scan_questions,
)
from wmh_train.backend import TorchBackend
from wmh_train.checkpoint import CheckpointFacts, load_facts, load_network
from wmh_train.model.network import WmhNetwork

GRAPHS = "graphs"
_TOOLS = ("wmh-lora", "torch", "onnx", "onnxscript")
_NO_LICENCE = "not stated"
_PHANTOM_CAUTION = "Trained on made-up heads: on scans of patients its masks mean nothing"
_ASKED, _IN_EIGHT_VIEWS = 8, 2  # slices; each of eight views costs eight
_MERGED_ASKED = 2
_SCANS_ASKED, _SCANS_IN_EIGHT_VIEWS = 8, 1
_CALIBRATED_ON = 12  # slices; as many others choose the layers that stay in float32


@dataclass(frozen=True)
class Naming:
    """What people shall call a bundle and know of it."""

    name: str = ""  # empty takes the recipe's
    caution: str = ""  # empty is none, but for a network that learned from phantoms
    licence: str = ""  # of the weights; empty says that it is not stated


@dataclass(frozen=True)
class Built:
    """A bundle, and what it could not be given."""

    bundle: Bundle
    refused: list[str]  # precisions that are not in it, with the reason
    warnings: list[str]  # what graphs in it should not be executed in, with the reason


def build(
    checkpoint: Path,
    out: Path,
    on_step: Callable[[str], None],
    *,
    base: Path | None = None,
    scans: Path | None = None,
    naming: Naming | None = None,
) -> Built:
    """Export a checkpoint: merge, rewrite, trace, compare. `out` appears whole or not at all.

    Args:
        checkpoint: calibrated.
        out: bundle folder; must not exist.
        on_step: is told each step.
        base: the weights that a frozen encoder was trained on.
        scans: folder of FLAIR scans, to compare on and to calibrate INT8 on, besides phantoms.
        naming: None takes the defaults.

    Raises:
        RecipeError: the checkpoint cannot be read.
        ExportError: it is not calibrated, `out` exists, or the float32 graphs are not the network.
        BackendError: ONNX Runtime is not installed, or the network finds no lesion anywhere.
        InputError: the scans or the base cannot be used.
    """
    if out.exists():
        raise ExportError("exists already", "Choose another folder or remove it.", about=out)
    facts = load_facts(checkpoint)
    if facts.calibration is None:
        raise ExportError(
            "is not calibrated", f"Run: wmh-train calibrate {checkpoint} --data …", about=checkpoint
        )
    backends = installed_backends()
    if not backends:
        raise BackendError("is not installed", "Run: pip install onnxruntime", about="ONNX Runtime")
    make_writable_folder(out.parent)
    thresholds = [output.threshold for output in facts.calibration.outputs]
    with _folder_that_appears_whole(out) as partial, tempfile.TemporaryDirectory() as scratch:
        on_step("loading the network")
        network = load_network(checkpoint, facts, base)
        asked = _ask(network, facts, scans, thresholds, on_step)
        merged = _merged(network, facts, asked["phantoms"], thresholds, on_step)
        (partial / GRAPHS).mkdir()
        writer = GraphWriter(
            rewrite(merged),
            TorchBackend.shape_of(facts.recipe),
            partial / GRAPHS,
            Proof(asked, thresholds, backends),
            _graph_facts(facts),
            on_step,
        )
        written, quantisation, refused = _write(
            writer, facts, scans, partial, Path(scratch), on_step
        )
        asked["phantoms"].save(partial / ANSWERS_NAME)
        manifest = _manifest(facts, partial, written, quantisation, naming or Naming())
        write_text_atomically(partial / MANIFEST_NAME, manifest.model_dump_json(indent=2) + "\n")
        write_text_atomically(partial / CARD_NAME, model_card(manifest))
    return Built(open_bundle(out), refused, writer.warnings)


@contextmanager
def _folder_that_appears_whole(out: Path) -> Iterator[Path]:
    partial = Path(tempfile.mkdtemp(prefix=".wmh-partial-", dir=out.parent))
    try:
        yield partial
        partial.chmod(0o755)
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _ask(
    network: WmhNetwork,
    facts: CheckpointFacts,
    scans: Path | None,
    thresholds: list[float],
    on_step: Callable[[str], None],
) -> dict[Data, Answers]:
    """Ask the network as it was trained, one view after another, in double precision.

    Float32 has errors of its own, as large as those that it is to be compared for.
    """
    preparation, channels = facts.recipe.preparation, len(facts.recipe.channels)
    asked: dict[Data, Answers] = {}
    with TorchBackend(copy.deepcopy(network).double(), facts.recipe, views=1) as backend:
        on_step("asking the network about phantoms")
        questions = phantom_questions(PARITY_SEED, preparation, channels, _ASKED)
        asked["phantoms"] = ask(backend, questions, thresholds, _IN_EIGHT_VIEWS)
        if scans is not None:
            on_step("asking the network about scans")
            questions = scan_questions(scans, preparation, channels, _SCANS_ASKED)
            asked["scans"] = ask(backend, questions, thresholds, _SCANS_IN_EIGHT_VIEWS)
    return asked


def _merged(
    network: WmhNetwork,
    facts: CheckpointFacts,
    answers: Answers,
    thresholds: list[float],
    on_step: Callable[[str], None],
) -> WmhNetwork:
    on_step("merging")
    merged = merge(network)
    with TorchBackend(merged, facts.recipe, views=1) as backend:
        parity = measure_parity(answers.first(_MERGED_ASKED), backend, 1, thresholds)
    if parity.shortfall:
        raise ExportError(
            f"the merged network is another: {parity.shortfall}", "Please report this."
        )
    return merged


def _write(
    writer: GraphWriter,
    facts: CheckpointFacts,
    scans: Path | None,
    partial: Path,
    scratch: Path,
    on_step: Callable[[str], None],
) -> tuple[list[Written], Quantisation | None, list[str]]:
    """Write every precision; what is not the network in one of the others is refused."""
    recipe, channels = facts.recipe, len(facts.recipe.channels)
    written, quantisation = [writer.fp32()], None
    on_step("int8: looking at activations")
    known = phantom_questions(CALIBRATION_SEED, recipe.preparation, channels, 2 * _CALIBRATED_ON)
    slices, unseen = known.alternately()
    of = "phantoms"
    if scans is not None:
        more = scan_questions(scans, recipe.preparation, channels, _SCANS_ASKED)
        slices, of = Questions.joined(slices, more), "phantoms and scans"
    quantiser = Quantiser(partial / GRAPHS / "1-view.fp32.onnx", slices.slices, scratch)
    refused = []
    try:
        int8, trials = writer.int8(quantiser, unseen)
        written.append(int8)
        quantisation = Quantisation(
            quantiser=f"onnxruntime {version('onnxruntime')}",
            calibration_slices=len(slices),
            calibrated_on=of,
            left_out=trials[-1].left_out,
            trials=trials,
        )
    except (ExportError, BackendError) as error:
        refused.append(f"int8: {error}")
    try:
        written.append(writer.fp16(quantiser.largest_activation()))
    except (ExportError, BackendError) as error:
        refused.append(f"fp16: {error}")
    return written, quantisation, refused


def _manifest(
    facts: CheckpointFacts,
    folder: Path,
    written: list[Written],
    quantisation: Quantisation | None,
    naming: Naming,
) -> Manifest:
    assert facts.calibration is not None
    recipe, calibration = facts.recipe, facts.calibration
    learned_from_phantoms = facts.provenance.data == DATA_SET_NAME
    return Manifest(
        name=naming.name or recipe.name,
        caution=naming.caution or _PHANTOM_CAUTION * learned_from_phantoms,
        licence=naming.licence or _NO_LICENCE,
        channels=recipe.channels,
        outputs=calibration.outputs,
        preparation=recipe.preparation,
        calibration=calibration.model_dump(exclude={"surface"}),
        graphs=[graph for precision in written for graph in precision.graphs],
        weights=[precision.weights for precision in written],
        answers=File(path=ANSWERS_NAME, sha256=sha256_of(folder / ANSWERS_NAME)),
        quantisation=quantisation,
        training=Training(
            **facts.provenance.model_dump(exclude={"details"}),
            training_scans=len(facts.split.training),
            validation_scans=len(facts.split.validation),
            details={
                **facts.provenance.details,
                "recipe": recipe.model_dump(mode="json", exclude={"preparation"}),
            },
        ),
        tools={
            tool: version(tool)
            for tool in (*_TOOLS, *(backend.name for backend in installed_backends()))
        },
    )


def _graph_facts(facts: CheckpointFacts) -> dict[str, str]:
    """Return what a graph's own metadata says, for whoever meets it without its bundle."""
    recipe = facts.recipe
    return {
        "made_by": "wmh-lora",
        "input": f"{', '.join(recipe.channels)}; z-scored within the head, 0 outside",
        "output": f"probability of {', '.join(recipe.outputs)}",
        "pixel_size_mm": f"{recipe.preparation.pixel_size_mm:g}",
        "plane": recipe.preparation.plane,
    }
