"""Options of inference: how to run a bundle, and what may differ from its calibration."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from wmh_runtime.bundle.bundle import Bundle
from wmh_runtime.errors import InputError
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.backend_selection import AUTO, parse_backend
from wmh_runtime.postprocessing.lesions import Output
from wmh_runtime.precision import Precision
from wmh_runtime.tta import Tta, first_views


@dataclass(frozen=True)
class InferenceOptions:
    """How to run a bundle. The defaults are those of `wmh-infer`.

    Raises:
        InputError: a value is not possible.
    """

    tta: Tta = "full"  #: views of each slice: full (eight), none (one), adaptive
    precision: Precision = "fp32"  #: fp32, fp16, bf16, int8, int8+bf16
    backend: str = AUTO  #: name of a backend, or auto: the fastest one that is installed
    gpus: tuple[int, ...] = ()  #: indices; empty: the first
    threads: int | None = None  #: CPU threads; None: one per core
    batch_size: int | None = None  #: slices; None: 1 on CPUs, eight views on GPUs
    threshold: float | None = None  #: probability, in (0, 1]; None: the bundle's
    min_lesion_mm3: float | None = None  #: smallest lesion kept; None: the bundle's

    def __post_init__(self) -> None:
        object.__setattr__(self, "backend", parse_backend(self.backend))
        for field, known in (("tta", get_args(Tta)), ("precision", get_args(Precision))):
            if (value := getattr(self, field)) not in known:
                advice = f"Choose from: {', '.join(known)}."
                raise InputError(f"is {value}", advice, about=field)
        if not isinstance(self.gpus, tuple) or not all(isinstance(i, int) for i in self.gpus):
            raise InputError(f"is {self.gpus}", "Give a tuple of GPU indices.", about="gpus")
        for field in ("threads", "batch_size"):
            if (number := getattr(self, field)) is not None and number < 1:
                raise InputError(f"is {number}", "Give 1 or more.", about=field)
        threshold, smallest = self.threshold, self.min_lesion_mm3
        if threshold is not None and not 0 < threshold <= 1:
            problem = f"is {threshold:g}, expected above 0 and at most 1"
            raise InputError(problem, "Give a probability: 0.5 for 50 %.", about="threshold")
        if smallest is not None and not 0 <= smallest < math.inf:
            problem = f"is {smallest:g}, expected a volume in mm³"
            raise InputError(problem, "Give 0 or more.", about="min_lesion_mm3")

    @property
    def backend_options(self) -> BackendOptions:
        """What the backend is asked for."""
        return BackendOptions(
            views=first_views(self.tta),
            precision=self.precision,
            batch_size=self.batch_size,
            threads=self.threads,
            gpus=self.gpus,
        )

    def outputs(self, bundle: Bundle) -> list[Output]:
        """Return the outputs of a bundle, calibrated for the views, with the options' values.

        Raises:
            BundleError: the bundle is not calibrated for these views.
        """
        values = {"threshold": self.threshold, "min_lesion_mm3": self.min_lesion_mm3}
        given = {name: value for name, value in values.items() if value is not None}
        return [output.model_copy(update=given) for output in bundle.manifest.outputs_of(self.tta)]
