"""The manifest of a bundle, `manifest.json`: everything that the runtime needs to know.

Its JSON Schema is docs/manifest.schema.json. docs/bundle.md explains the keys.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from wmh_runtime.bundle.accuracy import FEW_SCANS, LOW_DICE, MeasuredAccuracy
from wmh_runtime.bundle.calibration import Calibration
from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.bundle.training_record import Training
from wmh_runtime.errors import BundleError
from wmh_runtime.postprocessing.lesions import Output, OutputName
from wmh_runtime.postprocessing.regions import REGION_THRESHOLD
from wmh_runtime.precision import GraphPrecision
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import INTENDED_USE, count_noun
from wmh_runtime.tta import Tta, Views
from wmh_runtime.types import EngineKind, GraphProvider, NetworkShape, ProbeSource

SCHEMA_VERSION: Final = 3


class File(StrictModel):
    """A file of the bundle."""

    path: str = Field(description="relative to the bundle folder, with forward slashes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Graph(File):
    """An ONNX graph. Input: float32 [N, C, S, S]. Output: probability, float32 [N, K, S, S]."""

    precision: GraphPrecision
    views: Views
    provider: GraphProvider = Field(
        default="",
        description="the only execution provider of ONNX Runtime that runs it; empty: everything",
    )
    weights: str | None = Field(description="path of the file with the weights")
    parity: list[Parity] = Field(min_length=1, description="as measured with each backend")


class BatchProfile(StrictModel):
    """The optimization profile of an engine: its batch sizes, in slices."""

    min: int = Field(ge=1)
    opt: int = Field(ge=1, description="the batch size that the engine is optimized for")
    max: int = Field(ge=1)


class Engine(File):
    """A graph compiled by TensorRT or TensorRT-RTX for particular GPUs."""

    kind: EngineKind
    version: str = Field(description="version of the library; only the same version runs it")
    targets: list[str] = Field(min_length=1, description="compute capabilities, such as sm89")
    gpu: str = Field(description="the only GPU model that runs it; empty: all GPUs of the targets")
    network_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="hash of the graph it was built from and its weights"
    )
    precision: GraphPrecision
    views: Views
    profile: BatchProfile
    build_seconds: float
    fused_attention_layers: int = Field(
        description="attention layers that TensorRT fused into one kernel, from the build log"
    )
    attention_layers: int = Field(description="attention layers of the network")


class QuantizationTrial(StrictModel):
    """One trial: INT8 with some groups of layers in float32, against the float32 graph."""

    float32_groups: list[str] = Field(description="groups of layers that stay in float32")
    mask_dice: float = Field(description="Dice of the masks, on the slices of the search")
    volume_percent: float | None = Field(
        description="absolute volume difference in percent; null: the float32 graph finds nothing"
    )


class Quantization(StrictModel):
    """How the INT8 graphs were made."""

    quantizer: str
    calibration_slices: dict[ProbeSource, int] = Field(description="number of slices by source")
    float32_groups: list[str] = Field(description="groups of layers that stay in float32")
    trials: list[QuantizationTrial]


class Manifest(StrictModel):
    """Everything that the runtime needs to know about a model."""

    schema_version: Literal[3] = SCHEMA_VERSION
    name: str
    channels: list[str] = Field(min_length=1)
    interchangeable: bool = Field(
        default=False, description="any channel may be missing, but not all: it is 0 everywhere"
    )
    preprocessing: Preprocessing
    regions: list[OutputName] = Field(
        default=[], description="regions of the brain: the outputs of the graphs after the lesions"
    )
    calibration: Calibration
    graphs: list[Graph] = Field(min_length=1)
    weights: list[File] = Field(description="files with the weights of the graphs")
    reference_outputs: File = Field(
        description="probe slices, and the trained network's outputs for them"
    )
    checkpoint: list[File] = Field(
        default=[], description="the trained weights and their metadata, for fine-tuning"
    )
    engines: list[Engine] = Field(default=[], description="built by wmh-export engines")
    quantization: Quantization | None = Field(default=None, description="of the INT8 graphs")
    skipped_precisions: list[str] = Field(
        default=[], description="precisions that are not in the bundle, each with the reason"
    )
    training: Training
    accuracy: MeasuredAccuracy | None = Field(
        default=None, description="written by wmh-bench accuracy; null: not measured"
    )
    library_versions: dict[str, str] = Field(description="of the libraries that made the bundle")
    license: str
    attributions: list[str] = Field(
        default=[], description="sources and licenses of the data that the model was made from"
    )
    intended_use: str = INTENDED_USE
    notes: str = Field(default="", description="of the author, in Markdown: the card's last part")
    warning: str = Field(default="", description="a warning that every result shows")

    @property
    def input_text(self) -> str:
        """What a scan needs, in words: `FLAIR`, `FLAIR and T1`, or `FLAIR, T1, or both`."""
        names = [channel.upper() for channel in self.channels]
        if self.interchangeable:
            return f"{', '.join(names)}, or {'both' if len(names) == 2 else 'several'}"
        return " and ".join(names)

    @property
    def outputs(self) -> list[Output]:
        """The outputs for lesions with their thresholds for eight views, the default.

        There are none if the network predicts regions only.
        """
        return self.calibration.outputs

    @property
    def warnings(self) -> list[str]:
        """The warnings that every result shows: the model's own, and what its figures say."""
        calibration = self.calibration
        warnings = [self.warning] if self.warning else []
        if not self.outputs:
            return warnings
        if calibration.scans < FEW_SCANS:
            scans = count_noun(calibration.scans, "validation scan")
            warnings.append(f"the thresholds of this model were chosen on {scans} only")
        accuracy = self.accuracy
        if accuracy is None:
            warnings.append("the accuracy of this model has not been measured on other scans")
        else:
            warnings += accuracy.warnings
            if accuracy.mean_dice < LOW_DICE or accuracy.scans >= FEW_SCANS:
                return warnings  # the Dice of the validation scans says no more
        for output, dice in zip(
            self.outputs, calibration.operating_points[0].mean_dice, strict=True
        ):
            if not dice >= LOW_DICE:  # NaN included
                warnings.append(
                    f"this model is inaccurate: its {output.name} masks of validation scans have"
                    f" a mean Dice of {dice:.2f}"
                )
        return warnings

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        names = [output.name for output in self.calibration.outputs] + self.regions
        if len(set(names)) < len(names):
            raise ValueError(f"{names} contains a name twice")
        if not names:
            raise ValueError("the network has no outputs: neither lesions nor regions")
        return self

    @property
    def network_shape(self) -> NetworkShape:
        """Channels (C), outputs (K) and slice size (S) of the graphs."""
        outputs = len(self.outputs) + len(self.regions)
        return self.preprocessing.network_shape(len(self.channels), outputs)

    def outputs_of(self, tta: Tta) -> list[Output]:
        """Return the outputs with thresholds and minimum lesion sizes for these views.

        Raises:
            BundleError: the bundle is not calibrated for them.
        """
        if tta == "adaptive" and not self.calibration.empty_slice_thresholds:
            raise _not_calibrated("adaptive views")
        if tta != "none":
            return self.outputs
        for point in self.calibration.operating_points:
            if point.views == 1:
                return point.outputs
        raise _not_calibrated("one view")

    def empty_slice_threshold(self, output: Output) -> float:
        """Return the probability below which the first view of a slice counts as empty.

        Args:
            output: an output of this manifest. If its threshold is lower than the calibrated one,
                the result is lowered in proportion.
        """
        pairs = zip(self.outputs, self.calibration.empty_slice_thresholds, strict=True)
        own, threshold = next(pair for pair in pairs if pair[0].name == output.name)
        return threshold * min(1, output.threshold / own.threshold)

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds of the K outputs, by name; calibrated for lesions."""
        lesions = {output.name: output.threshold for output in self.outputs}
        return lesions | dict.fromkeys(self.regions, REGION_THRESHOLD)

    @property
    def files(self) -> tuple[File, ...]:
        """All files that the manifest lists."""
        return (
            *self.graphs,
            *self.weights,
            self.reference_outputs,
            *self.checkpoint,
            *self.engines,
        )

    @property
    def model_id(self) -> str:
        """Hash of everything that affects a mask.

        This is: graphs with their precision and views, weights, preprocessing, and the
        calibration for each number of views and for adaptive views. Default values are not
        hashed, so that a new optional field does not change the id of existing bundles.
        """
        weights_sha256 = {file.path: file.sha256 for file in self.weights}
        hashed = {
            "channels": self.channels,
            "operating_points": [
                [
                    point.views,
                    [output.model_dump(exclude_defaults=True) for output in point.outputs],
                ]
                for point in self.calibration.operating_points
            ],
            "empty_slice_thresholds": self.calibration.empty_slice_thresholds,
            **({"regions": self.regions} if self.regions else {}),
            **({"interchangeable": True} if self.interchangeable else {}),
            "preprocessing": self.preprocessing.model_dump(exclude_defaults=True),
            "graphs": sorted(
                [
                    graph.precision + (f" {graph.provider}" if graph.provider else ""),
                    graph.views,
                    graph.sha256,
                    weights_sha256.get(graph.weights or "", ""),
                ]
                for graph in self.graphs
            ),
        }
        canonical = json.dumps(hashed, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _not_calibrated(views: str) -> BundleError:
    problem = f"the bundle is not calibrated for {views}"
    remedy = "Use full, or calibrate the checkpoint again and build the bundle again."
    return BundleError(problem, remedy, about="tta")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `manifest.json`. It is published as docs/manifest.schema.json."""
    return Manifest.model_json_schema()


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))  # noqa: T201 - this is the output
