"""The measurements of whole folders, on toy heads: that they count what was done."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.dev.device_waits import measure_device_waits
from tests.toys import write_head
from wmh_bench import throughput
from wmh_bench.cli import main
from wmh_bench.results import read_result
from wmh_bench.throughput import Stretch, measure_throughput
from wmh_runtime.bundle.bundle import open_bundle
from wmh_runtime.errors import InputError, InterruptionError
from wmh_runtime.figures.plot_style import COLORS
from wmh_runtime.inference.backend_selection import BackendOptions
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
    return open_bundle(toy_bundle)


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(throughput, "_ALONE_S", 0.05)


def measured(bundle, scans, out, tta="full"):
    wanted = BackendOptions(first_views(tta), "fp32")
    return measure_throughput(bundle, scans, out, "onnxruntime", wanted, tta, lambda: None)


def test_a_device_that_sleeps_is_waited_for(bundle, scans):
    waits = measure_device_waits(bundle, scans, seconds_a_slice=0.01)
    assert (waits.scans, waits.slices) == (4, 24)
    assert waits.seconds_device == pytest.approx(24 * 0.01)
    assert waits.ratio >= 1
    assert waits.ratio == pytest.approx(waits.seconds_run / 0.24, abs=0.05)


def test_scans_that_cannot_be_used_are_no_measurement(bundle, scans):
    (scans / "e.nii").write_bytes(b"")
    with pytest.raises(InputError, match=r"e\.nii: is empty"):
        measure_device_waits(bundle, scans, seconds_a_slice=0.001)


@pytest.mark.parametrize(("tta", "views"), [("full", 24 * 8), ("none", 24), ("adaptive", 24 + 56)])
def test_views_are_counted_as_they_were_executed(bundle, scans, tmp_path, tta, views):
    found = measured(bundle, scans, tmp_path / "out", tta)
    assert found.scans == 4
    assert found.views == views  # adaptive: two slices of four heads in seven more views
    assert found.views_per_s / found.scans_per_hour == pytest.approx(views / (3600 * 4), rel=1e-3)
    assert found.share_of_alone == pytest.approx(
        found.views_per_s / np.mean(found.views_per_s_alone), rel=0.01, abs=1e-4
    )
    assert (found.batch, found.threads) == (1, available_cores())
    assert len(found.memory_mb) == 10
    assert max(found.memory_mb) <= found.peak_memory_mb + 1  # rounded, and read differently


def test_the_timeline_has_every_scan_prepared_and_finished_and_the_device(bundle, scans, tmp_path):
    found = measured(bundle, scans, tmp_path / "out")
    of_stage = {stage: [s for s in found.timeline if s.stage == stage] for stage in ("prepare",
        "execute", "finish")}  # fmt: skip
    assert (len(of_stage["prepare"]), len(of_stage["finish"])) == (4, 4)
    assert {one.worker for one in of_stage["execute"]} == {"device_0"}
    for stretches in of_stage.values():
        for one in stretches:
            assert 0 <= one.began_s <= one.ended_s <= found.seconds + 0.01
    drawn_s = sum(one.ended_s - one.began_s for one in of_stage["execute"])
    assert 0 < found.batch_under_way <= drawn_s / found.seconds + 0.01  # pauses are not counted
    assert [*found.seconds_a_scan] == ["read", "prepare", "execute", "restore", "lesions", "write"]
    in_finish = sum(one.ended_s - one.began_s for one in of_stage["finish"]) / 4
    steps = found.seconds_a_scan
    assert steps["restore"] + steps["lesions"] + steps["write"] == pytest.approx(
        in_finish, abs=0.002
    )


def test_a_pause_of_the_device_divides_its_work_and_a_breath_does_not():
    spans = [
        Span("execute", "device_0", 10.0, 11.0),
        Span("execute", "device_0", 11.004, 12.0),  # 4 ms later
        Span("execute", "device_0", 12.1, 13.0),
        Span("finish", "finishing_0", 12.0, 12.5),
        Span("finish", "finishing_0", 12.5, 13.0),  # another scan
    ]
    assert throughput._timeline(spans, began_s=10.0) == [
        Stretch(stage="execute", worker="device_0", began_s=0, ended_s=2),
        Stretch(stage="execute", worker="device_0", began_s=2.1, ended_s=3),
        Stretch(stage="finish", worker="finishing_0", began_s=2, ended_s=2.5),
        Stretch(stage="finish", worker="finishing_0", began_s=2.5, ended_s=3),
    ]


def test_stopped_amid_it_nothing_was_measured(bundle, scans, tmp_path, monkeypatch):
    def stop(*_):
        raise InterruptionError("stopped after 1 of 4 scans", "The same command goes on.")

    monkeypatch.setattr(throughput, "run", stop)
    with pytest.raises(InterruptionError, match=r"^stopped\. Nothing was measured\.$"):
        measured(bundle, scans, tmp_path / "out")


def test_a_folder_of_finished_results_is_no_measurement(bundle, scans, tmp_path):
    measured(bundle, scans, tmp_path / "out")
    with pytest.raises(InputError, match="holds finished results"):
        measured(bundle, scans, tmp_path / "out")


def test_the_command_draws_what_each_thread_did(toy_bundle, scans, tmp_path, run_command):
    results, picture = tmp_path / "r.json", tmp_path / "t.png"
    status, said, errors = run_command(
        *(main, "throughput", toy_bundle, scans, "--backend", "onnxruntime"),
        *("--results", results, "--picture", picture),
    )
    assert status == 0, errors
    assert "4 scans in" in said
    found = read_result(results)
    assert found.kind == "throughput"
    drawn = np.asarray(Image.open(picture).convert("RGB"))
    dark = np.asarray(Image.open(tmp_path / "t-dark.png").convert("RGB"))
    assert drawn[0, 0].min() == 255
    assert dark[0, 0].max() < 40
    for color in (COLORS[4], COLORS[1], COLORS[2]):  # prepare, execute, finish
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        assert (drawn == rgb).all(axis=2).sum() > 50
        assert (dark == rgb).all(axis=2).sum() > 50


def test_a_picture_is_a_png(toy_bundle, scans, tmp_path, run_command):
    call = (main, "throughput", toy_bundle, scans, "--picture", tmp_path / "t.pdf")
    status, _, errors = run_command(*call)
    assert (status, "Give a name that ends with .png." in errors) == (2, True)
