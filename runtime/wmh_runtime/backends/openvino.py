"""OpenVINO on the CPU, with bfloat16 if the CPU supports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from wmh_runtime.backends.onnx_graph import CpuBackend
from wmh_runtime.errors import BackendError
from wmh_runtime.files.links import without_links
from wmh_runtime.precision import Precision
from wmh_runtime.types import Floats

_DEVICE = "CPU"
# The float type of all layers that are not INT8. FP16 is emulated in float32.
_FLOAT_TYPE: dict[Precision, str] = {
    "fp32": "f32",
    "fp16": "f32",
    "bf16": "bf16",
    "int8": "f32",
    "int8+bf16": "bf16",
}


class OpenVinoBackend(CpuBackend):
    """Executes an ONNX graph with OpenVINO on the CPU.

    Raises:
        BackendError: on entry, also if the CPU does not support the precision.
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
    def supported_precisions(cls) -> tuple[Precision, ...]:
        """Return the precisions that this CPU supports. Not every CPU has bfloat16."""
        import openvino

        capabilities = openvino.Core().get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
        has_bf16 = "BF16" in capabilities
        return tuple(p for p in cls.precisions if has_bf16 or _FLOAT_TYPE[p] != "bf16")

    def _open(self) -> None:
        self._free: SimpleQueue[Any] = SimpleQueue()  # idle inference requests
        self.require_installed()
        import openvino

        if self.precision not in (*self.supported_precisions(), *self.emulated_precisions):
            raise BackendError("this CPU has no bfloat16", "Use fp32 or int8.", about=self.name)
        # OpenVINO sets up its numpy types at their first use. Two threads at once may deadlock.
        openvino.Type.f32.to_dtype()
        options = {
            "INFERENCE_PRECISION_HINT": _FLOAT_TYPE[self.precision],
            "NUM_STREAMS": self.num_streams,
            "INFERENCE_NUM_THREADS": self._threads,
        }
        try:
            with self._without_links() as graph:
                compiled = self._compile(openvino.Core(), graph, options)
            for _ in range(self.num_streams):
                self._free.put(compiled.create_infer_request())
        except (OSError, RuntimeError) as error:
            raise BackendError(f"OpenVINO rejects the graph: {error}", about=self._graph) from error

    def _compile(self, core: Any, graph: Path, options: dict[str, Any]) -> Any:
        model = core.read_model(graph)
        model.reshape([self.batch_size, *self.shape.input_shape])
        return core.compile_model(model, _DEVICE, options)

    @contextmanager
    def _without_links(self) -> Iterator[Path]:
        """Yield the path of the graph, with its weights beside it: OpenVINO refuses links."""
        content = self._graph.read_bytes()  # it names its weights file
        beside = sorted(self._graph.parent.iterdir())
        weights = [path for path in beside if path.name.encode() in content]
        with without_links([self._graph, *weights]) as folder:
            yield folder / self._graph.name

    def _close(self) -> None:
        self._free = SimpleQueue()

    def _run(self, batch: Floats) -> Floats:
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
