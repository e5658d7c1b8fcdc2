"""A device that only sleeps, in all processes that are started from now on.

Python loads a module with this name at its start. The device takes a fixed time for each batch, so
that many processes on a few cores run as they would with a device each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MODULE = """\
import importlib.abc
import importlib.util
import sys
import time

TARGET, SECONDS = "wmh_runtime.backends.onnxruntime_cpu", {seconds}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)

            def sleep(backend, batch):
                import numpy as np
                time.sleep(SECONDS)
                probability = 1 / (1 + np.exp(-batch[:, :1]))
                return np.repeat(probability, backend.shape.outputs, axis=1)

            module.OnnxRuntimeBackend._execute = sleep

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
"""


@contextmanager
def sleeping_device(folder: Path, seconds: float) -> Iterator[None]:
    """Let processes that are started in the block use a device that sleeps.

    Bright pixels are lesions. It takes the place of ONNX Runtime on the CPU.

    Args:
        folder: for the module.
        seconds: for each batch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sitecustomize.py").write_text(_MODULE.format(seconds=seconds), encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
