"""The throughput measurement, on toy heads."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.benchmarks.test_compare import throughput as throughput_result
from tests.toys import write_head
from wmh_bench import throughput
from wmh_bench.cli import main
from wmh_bench.pictures.timeline import draw_timeline
from wmh_bench.results import read_result
from wmh_bench.throughput import Activity, measure_throughput
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.errors import InputError, InterruptionError
from wmh_runtime.figures.plot_style import COLORS, DARK, LIGHT
from wmh_runtime.inference.backend_factory import BackendOptions
from wmh_runtime.inference.trace import Span
from wmh_runtime.machine import available_cores
from wmh_runtime.tta import first_views


@pytest.fixture
def scans(tmp_path):
    for name in "abcd":
        write_head(tmp_path / "scans" / f"{name}.nii")  # six slices each, two with a lesion
    return tmp_path / "scans"


@pytest.fixture
def bundle(toy_bundle):
    return load_bundle(toy_bundle)


@pytest.fixture(autouse=True)
def _short_backend_measurement(monkeypatch):
    monkeypatch.setattr(throughput, "_BACKEND_ONLY_S", 0.05)


def measure(bundle, scans, out, tta="full"):
    options = BackendOptions(first_views(tta), "fp32")
    return measure_throughput(bundle, scans, out, "onnxruntime", options, tta, lambda: None)


@pytest.mark.parametrize(("tta", "views"), [("full", 24 * 8), ("none", 24), ("adaptive", 24 + 56)])
def test_executed_views_are_counted(bundle, scans, tmp_path, tta, views):
    measured = measure(bundle, scans, tmp_path / "out", tta)
    assert measured.scans == 4
    assert measured.views_executed == views  # adaptive: two slices of each head in 7 more views
    assert measured.views_per_s / measured.scans_per_hour == pytest.approx(
        views / (3600 * 4), rel=1e-3
    )
    assert measured.share_of_backend_only == pytest.approx(
        measured.views_per_s / np.mean(measured.backend_only_views_per_s), rel=0.01, abs=1e-4
    )
    assert (measured.batch_size, measured.threads) == (1, available_cores())
    assert len(measured.memory_by_tenth_mb) == 10
    # Rounded, and read from different places: 1 MB of difference is possible.
    assert max(measured.memory_by_tenth_mb) <= measured.peak_memory_mb + 1


def test_the_timeline_has_every_stage_of_every_scan_and_the_device(bundle, scans, tmp_path):
    measured = measure(bundle, scans, tmp_path / "out")
    of_stage = {
        stage: [activity for activity in measured.timeline if activity.stage == stage]
        for stage in ("read", "preprocess", "predict", "postprocess", "write")
    }
    assert [len(of_stage[s]) for s in ("read", "preprocess", "postprocess", "write")] == [4] * 4
    assert {one.worker for one in of_stage["predict"]} == {"device_0"}
    for activity in measured.timeline:
        assert 0 <= activity.start_s <= activity.end_s <= measured.seconds + 0.01
    drawn_s = sum(one.end_s - one.start_s for one in of_stage["predict"])
    assert (
        0 < measured.backend_busy_share <= drawn_s / measured.seconds + 0.01
    )  # gaps are not counted
    assert [*measured.seconds_per_scan] == [*of_stage]
    write_s = sum(one.end_s - one.start_s for one in of_stage["write"]) / 4
    assert measured.seconds_per_scan["write"] == pytest.approx(write_s, abs=0.002)


def test_batches_with_a_short_gap_are_joined():
    spans = [
        Span("predict", "device_0", 10.0, 11.0),
        Span("predict", "device_0", 11.004, 12.0),  # 4 ms later
        Span("predict", "device_0", 12.1, 13.0),
        Span("write", "case_0", 12.0, 12.5),
        Span("write", "case_0", 12.5, 13.0),  # another scan
    ]
    assert throughput._timeline(spans, started_s=10.0) == [
        Activity(stage="write", worker="case_0", start_s=2, end_s=2.5),
        Activity(stage="write", worker="case_0", start_s=2.5, end_s=3),
        Activity(stage="predict", worker="device_0", start_s=0, end_s=2),
        Activity(stage="predict", worker="device_0", start_s=2.1, end_s=3),
    ]


def test_an_interrupted_run_is_not_a_measurement(bundle, scans, tmp_path, monkeypatch):
    def stop(*_):
        raise InterruptionError("stopped after 1 of 4 scans", "The same command continues.")

    monkeypatch.setattr(throughput, "run", stop)
    with pytest.raises(InterruptionError, match=r"^stopped\. Nothing was measured\.$"):
        measure(bundle, scans, tmp_path / "out")


def test_a_folder_with_results_is_refused(bundle, scans, tmp_path):
    measure(bundle, scans, tmp_path / "out")
    with pytest.raises(InputError, match="holds results of an earlier run"):
        measure(bundle, scans, tmp_path / "out")


def test_the_timeline_has_a_color_for_each_stage():
    stages = ("read", "preprocess", "predict", "postprocess", "write")
    timeline = [
        Activity(
            stage=stage,
            worker="device_0" if stage == "predict" else "case_0",
            start_s=20 * i,
            end_s=20 * (i + 1),
        )
        for i, stage in enumerate(stages)
    ]
    measured = throughput_result().model_copy(
        update={"timeline": timeline, "seconds_per_scan": dict.fromkeys(stages, 20.0)}
    )
    for theme in (LIGHT, DARK):
        picture = np.asarray(Image.open(io.BytesIO(draw_timeline(measured, theme))).convert("RGB"))
        for color in (COLORS[0], COLORS[4], COLORS[1], COLORS[2], COLORS[3]):
            rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
            assert (picture == rgb).all(axis=2).sum() > 1000


def test_the_command_writes_results_and_pictures(toy_bundle, scans, tmp_path, run_command):
    results, picture = tmp_path / "r.json", tmp_path / "t.png"
    status, output, errors = run_command(
        *(main, "throughput", toy_bundle, scans, "--backend", "onnxruntime"),
        *("--results", results, "--picture", picture),
    )
    assert status == 0, errors
    assert "4 scans in" in output
    assert read_result(results).kind == "throughput"
    light = np.asarray(Image.open(picture).convert("RGB"))
    dark = np.asarray(Image.open(tmp_path / "t-dark.png").convert("RGB"))
    assert light[0, 0].min() == 255
    assert dark[0, 0].max() < 40


def test_the_picture_must_be_a_png(toy_bundle, scans, tmp_path, run_command):
    call = (main, "throughput", toy_bundle, scans, "--picture", tmp_path / "t.pdf")
    status, _, errors = run_command(*call)
    assert (status, "Give a name that ends with .png." in errors) == (2, True)
