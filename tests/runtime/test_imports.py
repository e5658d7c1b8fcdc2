"""The runtime stays lean: no module needs what only training, export or other extras install."""

import subprocess
import sys

from tests.toys import write_annotated_heads

PROGRAM = """
import importlib, pkgutil, sys
for name in ("torch", "segment_anything", "peft", "monai", "safetensors", "onnx", "onnxscript",
             "onnxruntime", "openvino", "cuda", "tensorrt", "tensorrt_rtx", "scipy", "matplotlib",
             "pydicom", "highdicom", "pynetdicom", "ray", "submitit"):
    sys.modules[name] = None  # importing it raises ImportError
import wmh_runtime
names = [m.name for m in pkgutil.walk_packages(wmh_runtime.__path__, "wmh_runtime.")]
optional = ("wmh_runtime.dicom.", "wmh_runtime.dicom_results.", "wmh_runtime.node.")
optional += ("wmh_runtime.phantom.dicom_series", "wmh_runtime.cluster.")
names = [name for name in names if not name.startswith(optional)]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_every_runtime_module_imports_without_torch_and_without_onnx_runtime():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 25


BENCH = """
import sys
for name in ("torch", "segment_anything", "peft", "accelerate", "monai", "safetensors",
             "onnxscript", "openvino", "cuda", "tensorrt", "tensorrt_rtx"):
    sys.modules[name] = None
from wmh_bench.cli import main
sys.argv = ["wmh-bench", *sys.argv[1:]]
main()
"""


def test_a_bundle_is_measured_without_any_training_library(tmp_path):
    scans = write_annotated_heads(tmp_path / "data", 1)
    options = ("--backend", "onnxruntime", "--precision", "fp32", "--tta", "none")
    command = [sys.executable, "-c", BENCH, "accuracy", "demo", str(scans), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime fp32" in done.stdout
