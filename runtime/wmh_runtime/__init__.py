"""Run a WMH segmentation bundle on FLAIR scans: read, prepare, execute, restore, measure, write."""

import os

# ONNX Runtime would keep an identity of the machine and a list of sessions, from its import on.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
