"""Build a bundle from a calibrated checkpoint, and compare every graph with the trained network."""

from __future__ import annotations

import copy
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from wmh_export.graph_exporter import ExportedPrecision, GraphExporter, ParityCheck
from wmh_export.model_card import model_card
from wmh_export.network.merge import merge
from wmh_export.network.rewrite import rewrite
from wmh_export.phantom_probes import phantom_probes
from wmh_runtime.backends.registry import installed_backends
from wmh_runtime.bundle.bundle import (
    CARD_NAME,
    CHECKPOINT_FOLDER,
    REFERENCE_OUTPUTS_NAME,
    Bundle,
    load_bundle,
    write_manifest,
)
from wmh_runtime.bundle.calibration import Calibration
from wmh_runtime.bundle.manifest import File, Manifest, Quantization
from wmh_runtime.bundle.training_record import Training
from wmh_runtime.conformance.measure import measure_parity
from wmh_runtime.conformance.probe_slices import ProbeSlices, scan_probes, select_probe_scans
from wmh_runtime.conformance.reference_outputs import ReferenceOutputs, compute_reference_outputs
from wmh_runtime.conformance.verify import SCAN_SLICES_IN_EIGHT_VIEWS
from wmh_runtime.dataset.channels import ChannelRules
from wmh_runtime.errors import BackendError, ExportError
from wmh_runtime.files.atomic import atomic_folder, write_text_atomically
from wmh_runtime.files.folders import make_writable_folder
from wmh_runtime.files.hashing import sha256_file
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.files.temporary import remove_temporary_files
from wmh_runtime.phantom.cohort import CALIBRATION_SEED, DATA_SET_NAME, PARITY_SEED, SEARCH_SEED
from wmh_runtime.postprocessing.regions import REGION_THRESHOLD
from wmh_train.checkpoint import (
    METADATA_NAME,
    CheckpointMetadata,
    load_metadata,
    load_network,
    weights_path,
)
from wmh_train.model.network import WmhNetwork
from wmh_train.torch_backend import TorchBackend

GRAPHS_FOLDER = "graphs"
_TOOLS = ("wmh-lora", "torch", "onnx", "onnxscript")
_NO_LICENSE = "not stated"
_SCALES = {
    "z-score": "z-scored within the head, 0 outside",
    "white-matter": "dark regions 0, white matter 1; 0 outside the head",
    "percentile": "0 to 1 between two percentiles of the head, 0 outside",
}
_PHANTOM_WARNING = "Trained on made-up heads: on scans of patients its masks mean nothing"
# Numbers of slices. A reference output in eight views takes eight times as long as in one.
_PARITY_SLICES, _PARITY_SLICES_IN_EIGHT_VIEWS = 8, 2
_MERGE_CHECK_SLICES = 2
_CALIBRATION_SLICES, _SEARCH_SLICES = 12, 12


@dataclass(frozen=True)
class BundleMetadata:
    """Texts about a bundle that its author chooses."""

    name: str = ""  # empty: the name of the recipe
    warning: str = ""  # empty: none, or a default warning if the training data are phantoms
    license: str = ""  # of the weights; empty: "not stated"
    attributions: Sequence[str] = ()  # of what the model was made from
    notes: str = ""  # Markdown that the model card ends with


@dataclass(frozen=True)
class BuildResult:
    """The bundle, and the problems found while building it."""

    bundle: Bundle
    skipped_precisions: list[str]  # precisions that the bundle lacks, each with the reason
    warnings: list[str]


def build(
    checkpoint: Path,
    out: Path,
    on_step: Callable[[str], None],
    *,
    pretrained: Path | None = None,
    scans: Path | None = None,
    metadata: BundleMetadata | None = None,
    with_int8: bool = True,
    with_checkpoint: bool = False,
) -> BuildResult:
    """Export a checkpoint to a bundle. Writes `out` completely or not at all.

    Args:
        checkpoint: folder of a calibrated checkpoint.
        out: bundle folder; must not exist.
        on_step: called with a description of each step.
        pretrained: file of the pretrained weights, if the encoder was frozen in training.
        scans: folder of scans with the channels of the network. Slices of some, in addition to
            phantoms, measure parity and calibrate INT8.
        metadata: None: the defaults.
        with_int8: whether to export INT8, which takes most of the time.
        with_checkpoint: whether the bundle holds the trained weights too, for fine-tuning.

    Raises:
        RecipeError: the checkpoint cannot be read.
        ExportError: the checkpoint is not calibrated, `out` exists, or a float32 graph differs
            from the trained network.
        BackendError: the network finds no lesions, neither in the phantoms nor in the scans.
        InputError: the scans or the pretrained weights cannot be used, or a library that the recipe
            needs is not installed.
    """
    if out.exists():
        raise ExportError("already exists", "Choose another folder or remove it.", about=out)
    checkpoint_metadata = load_metadata(checkpoint)
    if checkpoint_metadata.calibration is None:
        raise ExportError(
            "is not calibrated", "Calibrate it with wmh-train calibrate.", about=checkpoint
        )
    checkpoint_metadata.recipe.preprocessing.require_installed()
    make_writable_folder(out.parent)
    remove_temporary_files(out.parent)
    on_step("loading the network")
    network = load_network(checkpoint, checkpoint_metadata, pretrained)
    try:
        with atomic_folder(out) as folder:
            builder = _BundleBuilder(
                checkpoint_metadata, folder, on_step, metadata or BundleMetadata(), with_int8
            )
            if with_checkpoint:
                builder.copy_checkpoint(checkpoint)
            builder.build(network, scans)
    except OSError as error:
        problem = f"cannot be written ({reason_of(error)})"
        about = error.filename or out
        raise ExportError(problem, "Check the folder and the disk.", about=about) from error
    return BuildResult(load_bundle(out), builder.skipped_precisions, builder.warnings)


@dataclass
class _BundleBuilder:
    """Writes the files of one bundle into an empty folder."""

    checkpoint: CheckpointMetadata
    folder: Path
    on_step: Callable[[str], None]
    metadata: BundleMetadata
    with_int8: bool
    skipped_precisions: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    checkpoint_files: list[File] = field(default_factory=list)

    def copy_checkpoint(self, checkpoint: Path) -> None:
        """Copy the trained weights and their metadata into the bundle."""
        (self.folder / CHECKPOINT_FOLDER).mkdir()
        for source in (checkpoint / METADATA_NAME, weights_path(checkpoint, self.checkpoint)):
            path = f"{CHECKPOINT_FOLDER}/{source.name}"
            shutil.copyfile(source, self.folder / path)
            self.checkpoint_files.append(File(path=path, sha256=sha256_file(self.folder / path)))

    def build(self, network: WmhNetwork, scans: Path | None) -> None:
        """Write all files of the bundle."""
        parity_scans = calibration_scans = None
        if scans is not None:
            recipe = self.checkpoint.recipe
            rules = ChannelRules(recipe.channels, recipe.interchangeable)
            selected = select_probe_scans(scans, rules)
            self.on_step(f"reading scans: {', '.join(case.path.name for case in selected)}")
            parity_scans, calibration_scans = scan_probes(
                selected, recipe.preprocessing, recipe.channels
            )
        references = self._compute_references(network, parity_scans)
        (self.folder / GRAPHS_FOLDER).mkdir()
        exporter = GraphExporter(
            rewrite(self._merge(network, references[0])),
            self.checkpoint.recipe.network_shape,
            self.folder / GRAPHS_FOLDER,
            ParityCheck(references, installed_backends()),
            self._graph_metadata(),
            self.on_step,
        )
        precisions, quantization = self._export_precisions(exporter, calibration_scans)
        self.warnings += exporter.warnings
        references[0].save(self.folder / REFERENCE_OUTPUTS_NAME)
        manifest = self._manifest(precisions, quantization)
        for graph in manifest.graphs:
            self.warnings += [
                f"{graph.path} in {parity.precision} on {parity.backend}: {parity.violation}"
                for parity in graph.parity
                if parity.violation
            ]
        write_manifest(self.folder, manifest)
        write_text_atomically(self.folder / CARD_NAME, model_card(manifest))

    def _phantom_probes(self, seed: int, slices: int) -> ProbeSlices:
        recipe = self.checkpoint.recipe
        return phantom_probes(
            seed, recipe.preprocessing, recipe.channels, recipe.channel_subsets, slices
        )

    def _compute_references(
        self, network: WmhNetwork, scan_slices: ProbeSlices | None
    ) -> list[ReferenceOutputs]:
        """Compute the outputs of the trained network in float64, one view at a time.

        Rounding errors of float32 would be as large as the differences that the parity check has
        to find.
        """
        assert self.checkpoint.calibration is not None
        outputs = self.checkpoint.calibration.outputs
        regions = self.checkpoint.recipe.regions
        thresholds = {output.name: output.threshold for output in outputs}
        thresholds |= dict.fromkeys(regions, REGION_THRESHOLD)
        self.on_step("computing reference outputs on phantoms")
        with TorchBackend(
            copy.deepcopy(network).double(), self.checkpoint.recipe, views=1
        ) as backend:
            phantoms = self._phantom_probes(PARITY_SEED, _PARITY_SLICES)
            references = [
                compute_reference_outputs(
                    backend, phantoms, thresholds, _PARITY_SLICES_IN_EIGHT_VIEWS, len(regions)
                )
            ]
            if scan_slices is not None:
                self.on_step("computing reference outputs on scans")
                reference = compute_reference_outputs(
                    backend, scan_slices, thresholds, SCAN_SLICES_IN_EIGHT_VIEWS, len(regions)
                )
                if reference.has_findings:
                    references.append(reference)
                else:
                    self.warnings.append(
                        f"the network finds no {reference.kind} in the scans: parity is measured"
                        " on phantoms only"
                    )
        if not references[0].has_findings and len(references) > 1:
            references[0] = self._with_found_masks(references[0])
        return references

    def _with_found_masks(self, phantoms: ReferenceOutputs) -> ReferenceOutputs:
        """Compare masks of phantoms below the thresholds; those of scans are compared at them."""
        lowered = phantoms.with_found_masks()
        if lowered.has_findings:
            values = ", ".join(
                f"{value:.2g} instead of {phantoms.thresholds[name]:g}"
                for name, value in lowered.thresholds.items()
                if value < phantoms.thresholds[name]
            )
            self.warnings.append(
                f"the network finds no {phantoms.kind} in the phantoms: there, masks are compared"
                f" at a threshold of {values}"
            )
        return lowered

    def _merge(self, network: WmhNetwork, reference: ReferenceOutputs) -> WmhNetwork:
        self.on_step("merging")
        merged = merge(network)
        with TorchBackend(merged, self.checkpoint.recipe, views=1) as backend:
            parity = measure_parity(reference.first(_MERGE_CHECK_SLICES), backend, 1)
        if parity.violation:
            raise ExportError(
                f"the merged network differs from the trained network: {parity.violation}",
                "Please report this.",
            )
        return merged

    def _export_precisions(
        self, exporter: GraphExporter, scan_slices: ProbeSlices | None
    ) -> tuple[list[ExportedPrecision], Quantization | None]:
        """Export every precision. Without float32 there is no bundle; the others may be skipped."""
        precisions, quantization = [exporter.export_fp32()], None
        self.on_step("making calibration slices")
        scans = [] if scan_slices is None else [scan_slices]
        calibration = [self._phantom_probes(CALIBRATION_SEED, _CALIBRATION_SLICES), *scans]
        with tempfile.TemporaryDirectory() as temporary_folder:
            quantizer = exporter.create_quantizer(calibration, Path(temporary_folder))
            if self.with_int8:
                search = [self._phantom_probes(SEARCH_SEED, _SEARCH_SLICES), *scans]
                try:
                    int8, quantization = exporter.export_int8(quantizer, search)
                    precisions.append(int8)
                except (ExportError, BackendError) as error:
                    self.skipped_precisions.append(f"int8: {error}")
            try:
                precisions.append(exporter.export_fp16(quantizer.largest_activation()))
            except (ExportError, BackendError) as error:
                self.skipped_precisions.append(f"fp16: {error}")
        return precisions, quantization

    def _manifest(
        self, precisions: list[ExportedPrecision], quantization: Quantization | None
    ) -> Manifest:
        checkpoint, metadata = self.checkpoint, self.metadata
        recipe, calibration = checkpoint.recipe, checkpoint.calibration
        assert calibration is not None
        stages = [one.model_dump(mode="json") for one in checkpoint.provenance.stages]
        default_warning = _PHANTOM_WARNING if checkpoint.provenance.data == DATA_SET_NAME else ""
        return Manifest(
            name=metadata.name or recipe.name,
            warning=metadata.warning or default_warning,
            license=metadata.license or _NO_LICENSE,
            attributions=list(metadata.attributions),
            notes=metadata.notes,
            channels=recipe.channels,
            interchangeable=recipe.interchangeable,
            preprocessing=recipe.preprocessing,
            regions=recipe.regions,
            calibration=Calibration(**calibration.model_dump(exclude={"threshold_sweep"})),
            graphs=[graph for precision in precisions for graph in precision.graphs],
            weights=[precision.weights for precision in precisions],
            reference_outputs=File(
                path=REFERENCE_OUTPUTS_NAME,
                sha256=sha256_file(self.folder / REFERENCE_OUTPUTS_NAME),
            ),
            checkpoint=self.checkpoint_files,
            quantization=quantization,
            skipped_precisions=self.skipped_precisions,
            training=Training(
                **checkpoint.provenance.model_dump(exclude={"details", "stages", "learned_images"}),
                training_scans=len(checkpoint.split.training),
                validation_scans=len(checkpoint.split.validation),
                details={
                    "network": recipe.network.kind,
                    **checkpoint.provenance.details,
                    "recipe": recipe.model_dump(mode="json", exclude={"preprocessing"}),
                    **({"stages": stages} if stages else {}),
                },
            ),
            library_versions={tool: version(tool) for tool in _TOOLS},
        )

    def _graph_metadata(self) -> dict[str, str]:
        """Return the metadata that every graph holds itself, for use without the bundle."""
        recipe = self.checkpoint.recipe
        scale = _SCALES[recipe.preprocessing.normalization]
        if recipe.preprocessing.bias_correction == "n4":
            scale += "; bias field corrected with N4"
        return {
            "made_by": "wmh-lora",
            "input": f"{', '.join(recipe.channels)}; {scale}",
            "output": f"probability of {', '.join(recipe.targets)}",
            "pixel_size_mm": f"{recipe.preprocessing.pixel_size_mm:g}",
            "planes": ", ".join(recipe.preprocessing.planes),
            "context_slices": f"{recipe.preprocessing.context_slices}",
            "slab_mm": f"{recipe.preprocessing.slab_mm:g}",
        }
