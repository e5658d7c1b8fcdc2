"""`wmh-bench`: measure a bundle on this machine, and compare results.

Only `baseline` needs PyTorch, and only that command imports it. The help needs no optional library.
"""

from __future__ import annotations

from wmh_bench.commands.accuracy import accuracy
from wmh_bench.commands.baseline import baseline
from wmh_bench.commands.compare import compare
from wmh_bench.commands.latency import latency
from wmh_bench.commands.throughput import throughput
from wmh_runtime.cli import console

app = console.command_line("Measure a bundle on this machine: speed, accuracy, memory.")
for command in (latency, throughput, accuracy, compare):
    app.command()(console.needs("bench", "onnx", "scipy", "matplotlib")(command))
app.command()(baseline)


def main() -> None:
    """Run `wmh-bench`."""
    console.run(app)
