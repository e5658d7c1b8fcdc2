"""The settings of a run: what decides its results besides the scans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import Field

from wmh_runtime.backends.base import Backend
from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.schema import StrictModel
from wmh_runtime.tta import Tta

# Increase it if preprocessing or postprocessing gives another result for the same settings.
PROCESSING_VERSION = 2


@dataclass(frozen=True)
class OtherInputs:
    """What decides a result besides the bundle and its options."""

    registered: bool = False  # further images were registered to the first
    regions_model_id: str = ""  # of the bundle that the regions are from; empty: the same


class Settings(StrictModel):
    """What decides a result besides the scan.

    On one machine, equal settings and versions give equal masks. The number of threads, the batch
    size and the model of the processor may change the last digits of a probability, and so single
    voxels at the threshold. They are not settings: a run with other ones keeps existing results.
    """

    model_id: str
    bundle: str
    output: Output
    backend: str
    device: str
    precision: str
    tta: Tta
    empty_slice_threshold: float | None = Field(
        default=None, description="with adaptive views: slices below it everywhere got one view"
    )
    registered: bool = Field(
        default=False, description="further images were registered to the first"
    )
    regions_model_id: str = Field(
        default="", description="of another bundle that the regions are from; empty: the same"
    )
    processing_version: int = Field(
        default=1, description="of preprocessing and postprocessing; results without it are of 1"
    )

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        output: Output,
        backend: Backend,
        tta: Tta,
        others: OtherInputs,
    ) -> Settings:
        """Gather the settings of one output."""
        threshold = bundle.manifest.empty_slice_threshold(output) if tta == "adaptive" else None
        return cls(
            model_id=bundle.manifest.model_id,
            bundle=bundle.manifest.name,
            output=output,
            backend=backend.name,
            device=backend.device,
            precision=backend.precision,
            tta=tta,
            empty_slice_threshold=threshold,
            registered=others.registered,
            regions_model_id=others.regions_model_id,
            processing_version=PROCESSING_VERSION,
        )

    def differences(self, other: Settings, *, any_backend: bool) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ from other ones, each with both values.

        Args:
            other: its values are the second ones.
            any_backend: backend and device may differ.
        """
        own, others = self.model_dump(), other.model_dump()
        if any_backend:
            del others["backend"], others["device"]
        if own["tta"] != others["tta"]:
            del others["empty_slice_threshold"]  # it follows from the views
        own |= own.pop("output")
        others |= others.pop("output")
        return {key: (own[key], others[key]) for key in others if own[key] != others[key]}


@dataclass(frozen=True)
class Provenance:
    """What makes the results of a run."""

    settings: Sequence[Settings]  # for each output
    versions: Mapping[str, str]  # of the libraries of the backend
    warnings: Sequence[str]  # of the model, for every result

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        outputs: Sequence[Output],
        backend: Backend,
        tta: Tta,
        others: OtherInputs | None = None,
    ) -> Self:
        """Gather it for a bundle, its outputs as they are used, and an open backend."""
        others = others or OtherInputs()
        settings = [Settings.of(bundle, output, backend, tta, others) for output in outputs]
        return cls(settings, backend.versions, bundle.manifest.warnings)
