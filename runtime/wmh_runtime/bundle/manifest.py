"""The manifest: everything the runtime needs to know of a model, `manifest.json` of a bundle.

Its JSON Schema is docs/manifest.schema.json; docs/bundle.md explains it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, Literal, Self

from pydantic import Field, model_validator

from wmh_runtime.bundle.parity_record import Parity
from wmh_runtime.errors import BundleError
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.precision import GraphPrecision
from wmh_runtime.preprocessing.preprocess import Preprocessing
from wmh_runtime.schema import StrictModel
from wmh_runtime.text import INTENDED_USE
from wmh_runtime.tta import Tta, Views
from wmh_runtime.types import Data, EngineKind, NetworkShape

SCHEMA_VERSION: Final = 3


class Choice(StrictModel):
    """The best threshold and minimum size with so many views, and what they reach."""

    views: Views
    outputs: list[Output]
    mean_dice: list[float] = Field(description="for each output")
    mean_lesion_f1: list[float] = Field(description="for each output")


class Calibration(StrictModel):
    """How thresholds, minimum sizes and what is certainly empty were chosen."""

    choices: list[Choice] = Field(description="of all eight views, then of one")
    empty_below: list[float] = Field(
        default=[],
        description="for each output: a slice whose probability in the first view stays below"
        " this everywhere holds none of it",
    )
    scans: int = Field(ge=1, description="validation scans it was chosen on")
    lesion_f1_weight: float

    @property
    def outputs(self) -> list[Output]:
        """The choice for eight views, which is what a bundle runs unless told otherwise."""
        return self.choices[0].outputs


class File(StrictModel):
    """A file of the bundle."""

    path: str = Field(description="relative to the bundle, with forward slashes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Graph(File):
    """One ONNX graph: float32 [N, C, S, S] in, probability float32 [N, K, S, S] out."""

    precision: GraphPrecision
    views: Views
    weights: str | None = Field(description="path of the file it reads its weights from")
    parity: list[Parity] = Field(min_length=1, description="for each backend that was at hand")


class BatchProfile(StrictModel):
    """The batches, in slices, that an engine takes."""

    least: int = Field(ge=1)
    best: int = Field(ge=1, description="that it is tuned for")
    most: int = Field(ge=1)


class Engine(File):
    """A graph compiled by TensorRT or TensorRT-RTX for particular GPUs."""

    kind: EngineKind
    version: str = Field(description="of the library that compiled it; no other runs it")
    targets: list[str] = Field(min_length=1, description="compute capabilities, such as sm89")
    gpu: str = Field(description="the only model it is for, of tensorrt; empty: all of the targets")
    network_sha256: str = Field(
        pattern=r"^[0-9a-f]{64}$", description="of the graph it was built from, with its weights"
    )
    precision: GraphPrecision
    views: Views
    profile: BatchProfile
    build_seconds: float
    fused_attention: int = Field(
        description="attention layers that became one kernel, by the log of the build"
    )
    attention_layers: int = Field(description="of the network")


class QuantizationTrial(StrictModel):
    """One choice of layers left in float32, and what it cost."""

    left_out: list[str] = Field(description="groups of layers that stay in float32")
    mask_dice: float = Field(description="with the float32 graph, on slices of the search")
    volume_percent: float | None = Field(
        description="difference from the float32 graph's, unsigned; null where that finds nothing"
    )


class Quantization(StrictModel):
    """How the INT8 graph came to be."""

    quantizer: str
    calibration_slices: dict[Data, int] = Field(description="how many, by what they show")
    left_out: list[str] = Field(description="groups of layers that stay in float32")
    trials: list[QuantizationTrial]


class Training(StrictModel):
    """Where a model comes from."""

    data: str = Field(description="what the data set calls itself")
    training_scans: int
    validation_scans: int
    training_slices: int
    parameters: int
    trained_parameters: int
    details: dict[str, Any] = Field(description="recipe, losses, machine")


class Manifest(StrictModel):
    """Everything the runtime needs to know of a model."""

    schema_version: Literal[3] = SCHEMA_VERSION
    name: str
    channels: list[str] = Field(min_length=1)
    outputs: list[Output] = Field(min_length=1)
    preprocessing: Preprocessing
    calibration: Calibration
    graphs: list[Graph] = Field(min_length=1)
    weights: list[File] = Field(description="files the graphs read their weights from")
    reference_outputs: File = Field(description="slices, and what the trained network says of them")
    engines: list[Engine] = Field(default=[], description="made by wmh-export engines")
    quantization: Quantization | None = Field(default=None, description="of the INT8 graphs")
    refused: list[str] = Field(default=[], description="precisions that were left out, and why")
    training: Training
    tools: dict[str, str] = Field(description="versions of what made the bundle")
    license: str
    intended_use: str = INTENDED_USE
    warning: str = Field(default="", description="a warning that every result shall bear")

    @property
    def network_shape(self) -> NetworkShape:
        """C, K and S of the graphs."""
        return NetworkShape(len(self.channels), len(self.outputs), self.preprocessing.size_px)

    def outputs_of(self, tta: Tta) -> list[Output]:
        """The outputs with what was calibrated for so many views.

        Raises:
            BundleError: nothing was.
        """
        if tta == "adaptive" and not self.calibration.empty_below:
            raise _not_calibrated("adaptive views")
        if tta != "none":
            return self.outputs
        for choice in self.calibration.choices:
            if choice.views == 1:
                return choice.outputs
        raise _not_calibrated("one view")

    def empty_below(self, output: Output) -> float:
        """Return the bound below which one view says that a slice holds none of an output.

        Args:
            output: with a threshold of its own; a lower one finds more, and lowers the bound too.
        """
        bounds = zip(self.outputs, self.calibration.empty_below, strict=True)
        own, bound = next((own, bound) for own, bound in bounds if own.name == output.name)
        return bound * min(1, output.threshold / own.threshold)

    @model_validator(mode="after")
    def _bound_for_each_output(self) -> Self:
        bounds = len(self.calibration.empty_below)
        if bounds not in (0, len(self.outputs)):
            raise ValueError(f"{bounds} bounds of empty slices, expected {len(self.outputs)}")
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        """The calibrated thresholds of the K outputs, by name."""
        return {output.name: output.threshold for output in self.outputs}

    @property
    def files(self) -> tuple[File, ...]:
        """All files that the manifest names."""
        return (*self.graphs, *self.weights, self.reference_outputs, *self.engines)

    @property
    def model_id(self) -> str:
        """Hash of all that decides a mask: graphs, weights, preprocessing, calibrated outputs.

        A graph counts with its precision and views, so none can stand in for another. Defaults
        are left out, so that a later, optional field changes no bundle's id.
        """
        sha256_file = {file.path: file.sha256 for file in self.weights}
        decisive = {
            "channels": self.channels,
            "outputs": [output.model_dump(exclude_defaults=True) for output in self.outputs],
            "preparation": self.preprocessing.model_dump(exclude_defaults=True),
            "graphs": sorted(
                [
                    graph.precision,
                    graph.views,
                    graph.sha256,
                    sha256_file.get(graph.weights or "", ""),
                ]
                for graph in self.graphs
            ),
        }
        canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _not_calibrated(what: str) -> BundleError:
    problem = f"the bundle is not calibrated for {what}"
    remedy = "Use --tta full, or calibrate its checkpoint again and build it again."
    return BundleError(problem, remedy, about="--tta")


def schema() -> dict[str, Any]:
    """Return the JSON Schema of `manifest.json`, as docs/manifest.schema.json publishes it."""
    return Manifest.model_json_schema()


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2, ensure_ascii=False))  # noqa: T201 - its only output
