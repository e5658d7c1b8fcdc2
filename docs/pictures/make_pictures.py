"""Draw all pictures of the documentation again, with the model base and the published results.

.venv/bin/python docs/pictures/make_pictures.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from wmh_bench.pictures.timeline import draw_timeline
from wmh_bench.results import read_result
from wmh_bench.throughput import Throughput
from wmh_runtime.figures.plot_style import DARK, LIGHT

PICTURES = Path(__file__).resolve().parent
REPOSITORY = PICTURES.parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results" / "epyc-2-cores"
BIN = Path(sys.executable).parent


def main() -> None:
    """Write every picture beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        draw_demo(Path(folder))
        draw_comparison(Path(folder) / "comparison")
    draw_timelines()
    run(sys.executable, PICTURES / "make_phantom_sheet.py")


def draw_demo(folder: Path) -> None:
    """Segment and evaluate the two heads of `make demo`; keep two of the pictures."""
    scans, results, report = folder / "scans", folder / "results", folder / "report"
    shutil.copytree(REPOSITORY / "examples", scans)
    run(BIN / "wmh-phantom", scans, "--subjects", 1, "--seed", 7)
    run(BIN / "wmh-infer", scans, results, "--backend", "onnxruntime", "--regions")
    references = scans / "derivatives" / "reference"
    run(BIN / "wmh-eval", results, references, "--out", report, "--scans", scans)
    Image.open(results / "sub-01_label-WMH_qc.png").save(PICTURES / "demo-qc.jpg", quality=88)
    Image.open(report / "errors.png").save(PICTURES / "evaluation.jpg", quality=88)


def draw_comparison(folder: Path) -> None:
    """Compare all published results."""
    run(BIN / "wmh-bench", "compare", *sorted(RESULTS.glob("*.json")), "--out", folder)
    for name in ("comparison.png", "comparison-dark.png"):
        shutil.copy(folder / name, PICTURES / name)


def draw_timelines() -> None:
    """Draw the published run of the demo model."""
    measured = read_result(
        RESULTS.parent / "xeon-2-cores" / "throughput-demo-onnxruntime-fp32.json"
    )
    assert isinstance(measured, Throughput)
    for name, theme in (("timeline.png", LIGHT), ("timeline-dark.png", DARK)):
        (PICTURES / name).write_bytes(draw_timeline(measured, theme))


def run(*command: object) -> None:
    """Run a command, and stop if it fails."""
    subprocess.run([str(part) for part in command], check=True)


if __name__ == "__main__":
    main()
