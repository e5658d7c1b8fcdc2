"""OpenVINO on the CPU, with bfloat16 where the processor has it."""

from __future__ import annotations

from queue import SimpleQueue
from typing import Any

from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.errors import BackendError
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats

_DEVICE = "CPU"
# What is not int8 is computed in; float16 is only emulated.
_FLOAT: dict[Precision, str] = {
    "fp32": "f32",
    "fp16": "f32",
    "bf16": "bf16",
    "int8": "f32",
    "int8+bf16": "bf16",
}


class OpenVinoBackend(CpuBackend):
    """Executes an ONNX graph with OpenVINO on the CPU.

    Raises:
        BackendError: on entry, also where the processor has not got the precision.
    """

    name = "openvino"
    library = "openvino"
    precisions = ("fp32", "bf16", "int8", "int8+bf16")
    extras = "cpu,openvino"

    @property
    def versions(self) -> dict[str, str]:
        """The version of OpenVINO."""
        import openvino

        return {"openvino": openvino.__version__.split("-")[0]}

    @classmethod
    def precisions_here(cls) -> tuple[Precision, ...]:
        """The precisions that this processor has: bf16 not everywhere."""
        import openvino

        abilities = openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        return tuple(p for p in cls.precisions if _FLOAT[p] != "bf16" or "BF16" in abilities)

    def _open(self) -> None:
        self._free: SimpleQueue[Any] = SimpleQueue()  # requests that execute nothing
        try:
            import openvino
        except ImportError as error:
            raise BackendError(
                "is not installed", self.install_advice(), about="OpenVINO"
            ) from error
        if self.precision not in (*self.precisions_here(), *self.emulates):
            raise BackendError(
                "this processor has no bfloat16", "Use fp32 or int8.", about=self.name
            )
        # What it sets up when it first meets numpy; two threads at once would wait for each other.
        openvino.Type.f32.to_dtype()
        options = {
            "INFERENCE_PRECISION_HINT": _FLOAT[self.precision],
            "NUM_STREAMS": self.num_streams,
            "INFERENCE_NUM_THREADS": self._threads,
        }
        try:
            core = openvino.Core()
            model = core.read_model(self._graph)
            model.reshape([self.batch_size, *self.shape.slice_in])
            compiled = core.compile_model(model, _DEVICE, options)
            for _ in range(self.num_streams):
                self._free.put(compiled.create_infer_request())
        except RuntimeError as error:
            raise BackendError(f"OpenVINO refuses the graph: {error}", about=self._graph) from error

    def _close(self) -> None:
        self._free = SimpleQueue()

    def _execute(self, batch: Floats) -> Floats:
        request = self._free.get()
        try:
            request.infer([batch], share_inputs=True)
            probability: Floats = request.get_output_tensor().data.copy()
        except RuntimeError as error:
            raise BackendError(
                f"failed on a batch of {len(batch)}: {error}", about=self.name
            ) from error
        finally:
            self._free.put(request)
        return probability
