"""A calibrated checkpoint becomes a bundle, of graphs that are proven to be its network."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from wmh_export.graph_writer import GraphWriter, Proof, Written
from wmh_export.model_card import model_card
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_export.phantom_probes import phantom_probes
from wmh_runtime.backends.registry import installed_backends
from wmh_runtime.bundle.bundle import (
    CARD_NAME,
    MANIFEST_NAME,
    REFERENCE_OUTPUTS_NAME,
    Bundle,
    open_bundle,
)
from wmh_runtime.bundle.manifest import Calibration, File, Manifest, Quantization, Training
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.probe_slices import ProbeSlices, scan_probes
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs, compute_reference_outputs
from wmh_runtime.conformance.verify import SCANS_IN_EIGHT_VIEWS
from wmh_runtime.errors import BackendError, ExportError
from wmh_runtime.files.atomic import atomic_folder, write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.temporary import remove_temporary_files
from wmh_runtime.phantom.cohort import CALIBRATION_SEED, DATA_SET_NAME, PARITY_SEED, SEARCH_SEED
from wmh_train.checkpoint import CheckpointFacts, load_facts, load_network
from wmh_train.model.network import WmhNetwork
from wmh_train.torch_backend import TorchBackend

GRAPHS = "graphs"
_TOOLS = ("wmh-lora", "torch", "onnx", "onnxscript")
_NO_LICENSE = "not stated"
_PHANTOM_CAUTION = "Trained on made-up heads: on scans of patients its masks mean nothing"
_ASKED, _IN_EIGHT_VIEWS = 8, 2  # slices; each of eight views costs eight
_MERGED_ASKED = 2
_CALIBRATED_ON, _SEARCHED_ON = 12, 12


@dataclass(frozen=True)
class Naming:
    """What people shall call a bundle and know of it."""

    name: str = ""  # empty takes the recipe's
    warning: str = ""  # empty is none, but for a network that learned from phantoms
    license: str = ""  # of the weights; empty says that it is not stated


@dataclass(frozen=True)
class Built:
    """A bundle, and what is to be said of it."""

    bundle: Bundle
    refused: list[str]  # precisions that are not in it, with the reason
    warnings: list[str]


def build(
    checkpoint: Path,
    out: Path,
    on_step: Callable[[str], None],
    *,
    base: Path | None = None,
    scans: Sequence[Path] = (),
    naming: Naming | None = None,
    with_int8: bool = True,
) -> Built:
    """Export a checkpoint: merge, rewrite, trace, compare. `out` appears whole or not at all.

    Args:
        checkpoint: calibrated.
        out: bundle folder; must not exist.
        on_step: is told each step.
        base: the weights that a frozen encoder was trained on.
        scans: FLAIR files, to compare on and to calibrate INT8 on, besides phantoms.
        naming: None takes the defaults.
        with_int8: whose search takes most of the time.

    Raises:
        RecipeError: the checkpoint cannot be read.
        ExportError: it is not calibrated, `out` exists, or the float32 graphs are not the network.
        BackendError: the network finds no lesion in the phantoms.
        InputError: the scans or the base cannot be used.
    """
    if out.exists():
        raise ExportError("exists already", "Choose another folder or remove it.", about=out)
    facts = load_facts(checkpoint)
    if facts.calibration is None:
        raise ExportError(
            "is not calibrated", f"Run: wmh-train calibrate {checkpoint} --data …", about=checkpoint
        )
    make_writable_folder(out.parent)
    remove_temporary_files(out.parent)
    on_step("loading the network")
    network = load_network(checkpoint, facts, base)
    try:
        with atomic_folder(out) as partial:
            assembly = _Assembly(facts, partial, on_step, naming or Naming(), with_int8)
            assembly.assemble(network, scans)
    except OSError as error:
        problem = f"cannot be written ({error.strerror or error})"
        about = error.filename or out
        raise ExportError(problem, "Check the folder and the disk.", about=about) from error
    return Built(open_bundle(out), assembly.refused, assembly.warnings)


@dataclass
class _Assembly:
    """What the steps of one export share."""

    facts: CheckpointFacts
    folder: Path
    on_step: Callable[[str], None]
    naming: Naming
    with_int8: bool
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def assemble(self, network: WmhNetwork, scans: Sequence[Path]) -> None:
        """Write everything into the folder."""
        of_scans = of_scans_for_int8 = None
        if scans:
            recipe = self.facts.recipe
            of_scans, of_scans_for_int8 = scan_probes(
                scans, recipe.preprocessing, len(recipe.channels)
            )
        asked = self._ask(network, of_scans)
        (self.folder / GRAPHS).mkdir()
        writer = GraphWriter(
            rewrite(self._merged(network, asked[0])),
            TorchBackend.shape_of(self.facts.recipe),
            self.folder / GRAPHS,
            Proof(asked, installed_backends()),
            self._graph_facts(),
            self.on_step,
        )
        written, quantization = self._write(writer, of_scans_for_int8)
        self.warnings += writer.warnings
        asked[0].save(self.folder / REFERENCE_OUTPUTS_NAME)
        manifest = self._manifest(written, quantization)
        for graph in manifest.graphs:
            self.warnings += [
                f"{graph.path} in {parity.precision} on {parity.backend}: {parity.shortfall}"
                for parity in graph.parity
                if parity.shortfall
            ]
        path = self.folder / MANIFEST_NAME
        write_text_atomically(path, manifest.model_dump_json(indent=2) + "\n")
        write_text_atomically(self.folder / CARD_NAME, model_card(manifest))

    def _phantoms(self, seed: int, slices: int) -> ProbeSlices:
        recipe = self.facts.recipe
        return phantom_probes(seed, recipe.preprocessing, len(recipe.channels), slices)

    def _ask(self, network: WmhNetwork, of_scans: ProbeSlices | None) -> list[ReferenceOutputs]:
        """Ask the network as it was trained, one view after another, in double precision.

        Float32 has errors of its own, as large as those that it is to be compared for.
        """
        assert self.facts.calibration is not None
        outputs = self.facts.calibration.outputs
        thresholds = {output.name: output.threshold for output in outputs}
        self.on_step("asking the network about phantoms")
        with TorchBackend(copy.deepcopy(network).double(), self.facts.recipe, views=1) as backend:
            questions = self._phantoms(PARITY_SEED, _ASKED)
            asked = [compute_reference_outputs(backend, questions, thresholds, _IN_EIGHT_VIEWS)]
            if of_scans is not None:
                self.on_step("asking the network about scans")
                answers = compute_reference_outputs(
                    backend, of_scans, thresholds, SCANS_IN_EIGHT_VIEWS
                )
                if answers.finds_lesions:
                    asked.append(answers)
                else:
                    self.warnings.append(
                        "nothing is found in the scans: compared on phantoms alone"
                    )
        return asked

    def _merged(self, network: WmhNetwork, answers: ReferenceOutputs) -> WmhNetwork:
        self.on_step("merging")
        merged = merge(network)
        with TorchBackend(merged, self.facts.recipe, views=1) as backend:
            parity = measure_parity(answers.first(_MERGED_ASKED), backend, 1)
        if parity.shortfall:
            raise ExportError(
                f"the merged network is another: {parity.shortfall}", "Please report this."
            )
        return merged

    def _write(
        self, writer: GraphWriter, of_scans: ProbeSlices | None
    ) -> tuple[list[Written], Quantization | None]:
        """Write every precision; float32 must be the network, what else is not is refused."""
        written, quantization = [writer.fp32()], None
        self.on_step("making heads to look at activations of")
        more = [] if of_scans is None else [of_scans]
        calibration = [self._phantoms(CALIBRATION_SEED, _CALIBRATED_ON), *more]
        with tempfile.TemporaryDirectory() as scratch:
            quantizer = writer.quantizer(calibration, Path(scratch))
            if self.with_int8:
                searched = [self._phantoms(SEARCH_SEED, _SEARCHED_ON), *more]
                try:
                    int8, quantization = writer.int8(quantizer, searched)
                    written.append(int8)
                except (ExportError, BackendError) as error:
                    self.refused.append(f"int8: {error}")
            try:
                written.append(writer.fp16(quantizer.largest_activation()))
            except (ExportError, BackendError) as error:
                self.refused.append(f"fp16: {error}")
        return written, quantization

    def _manifest(self, written: list[Written], quantization: Quantization | None) -> Manifest:
        facts, naming = self.facts, self.naming
        recipe, calibration = facts.recipe, facts.calibration
        assert calibration is not None
        learned_from_phantoms = facts.provenance.data == DATA_SET_NAME
        return Manifest(
            name=naming.name or recipe.name,
            warning=naming.warning or _PHANTOM_CAUTION * learned_from_phantoms,
            license=naming.license or _NO_LICENSE,
            channels=recipe.channels,
            outputs=calibration.outputs,
            preprocessing=recipe.preprocessing,
            calibration=Calibration(**calibration.model_dump(exclude={"surface"})),
            graphs=[graph for precision in written for graph in precision.graphs],
            weights=[precision.weights for precision in written],
            reference_outputs=File(
                path=REFERENCE_OUTPUTS_NAME,
                sha256=sha256_file(self.folder / REFERENCE_OUTPUTS_NAME),
            ),
            quantization=quantization,
            refused=self.refused,
            training=Training(
                **facts.provenance.model_dump(exclude={"details"}),
                training_scans=len(facts.split.training),
                validation_scans=len(facts.split.validation),
                details={
                    **facts.provenance.details,
                    "recipe": recipe.model_dump(mode="json", exclude={"preprocessing"}),
                },
            ),
            tools={tool: version(tool) for tool in _TOOLS},
        )

    def _graph_facts(self) -> dict[str, str]:
        """Return what a graph's own metadata says, for whoever meets it without its bundle."""
        recipe = self.facts.recipe
        return {
            "made_by": "wmh-lora",
            "input": f"{', '.join(recipe.channels)}; z-scored within the head, 0 outside",
            "output": f"probability of {', '.join(recipe.outputs)}",
            "pixel_size_mm": f"{recipe.preprocessing.pixel_size_mm:g}",
            "plane": recipe.preprocessing.plane,
        }
