"""Results side by side, on disk and as a picture."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wmh_bench.accuracy import Accuracy, AccuracyRow, CaseAccuracy
from wmh_bench.baseline.result import Baseline, BaselineRow
from wmh_bench.cli import main
from wmh_bench.compare import compare, table
from wmh_bench.environment import Circumstances, Model
from wmh_bench.latency import Latency, LatencyRow
from wmh_bench.machine import Machine
from wmh_bench.pictures.comparison import draw_comparison
from wmh_bench.results import read_result, schema, write_result
from wmh_bench.throughput import Throughput
from wmh_bench.timing.times import Times
from wmh_runtime.errors import InputError
from wmh_runtime.figures.plot_style import COLORS, DARK

REPOSITORY = Path(__file__).resolve().parents[2]
TIMES = Times.of([0.1] * 10)


def circumstances(made="2026-01-01T00:00:00+00:00", model="net", processor="AMD EPYC 9B14"):
    machine = Machine(
        processor=processor,
        cores=2,
        clock_mhz=None,
        memory_gb=24,
        instructions=[],
        gpus=[],
        system="Linux",
        python="3.11",
        versions={},
    )
    facts = Model(
        name=model,
        model_id=f"id of {model}",
        bundle_sha256="",
        size_px=512,
        parameters=1,
        gflop_a_view=209.0,
    )
    return Circumstances(made=made, commit="", machine=machine, model=facts)


def latency_row(backend="openvino", precision="bf16", **changes):
    facts = {
        "backend": backend,
        "executes": f"{backend} 1.0 on cpu",
        "device": "cpu",
        "precision": precision,
        "views": 8,
        "batch": 1,
        "load_s": 1,
        "first_s": 1,
        "times": TIMES,
        "parts": None,
        "views_per_s": 16,
        "slices_per_s": 2,
        "scans_per_hour": 150,
        "num_streams": 2,
        "clock_mhz": None,
        "tflop_per_s": 1,
        "share_of_products": 0.5,
        "share_of_peak": None,
        "host_memory_mb": 100,
        "device_memory_mb": None,
        "mask_dice": 0.99,
        "volume_percent": 0.5,
        "max_abs_difference": 0.1,
        "refused": "",
        "warnings": [],
    }
    return LatencyRow.model_validate(facts | changes)


def latency(rows, ceilings=(), **where):
    return Latency(
        circumstances=circumstances(**where),
        least_s=3,
        slices_a_scan=48,
        threads=2,
        gpu=0,
        rows=rows,
        ceilings=[],
        skipped={},
    )


def baseline(**where):
    row = BaselineRow(
        name="PyTorch, merged",
        is_runtime=False,
        precision="fp32",
        slices=1,
        first_s=1,
        times=TIMES,
        views_per_s=4,
        times_faster=1.3,
        least_times_faster=1.2,
        most_times_faster=1.4,
        tflop_per_s=1,
        share_of_products=0.6,
        share_of_peak=None,
        device_memory_mb=None,
        max_abs_difference=0,
        mask_dice=1,
        warnings=[],
    )
    runtime = {"name": "openvino", "is_runtime": True, "views_per_s": 9, "times_faster": 2.5}
    return Baseline(
        circumstances=circumstances(**where),
        device="AMD EPYC 9B14",
        threads=2,
        turns=1,
        products_tflop_per_s={"fp32": 1},
        copies=None,
        rows=[row, row.model_copy(update=runtime)],
        skipped={},
    )


def accuracy(dice, **where):
    case = CaseAccuracy(name="a", site="", reference_ml=1, volume_ml=1, dice=dice)
    row = AccuracyRow(
        backend="openvino",
        executes="openvino 1.0 on cpu",
        device="cpu",
        precision="bf16",
        tta="full",
        metrics={},
        volume_r_squared=None,
        volume_bias_ml=0,
        cases=[case],
    )
    return Accuracy(
        circumstances=circumstances(**where),
        data="cubes",
        scans=1,
        threshold_dice={},
        rows=[row],
        skipped={},
    )


def throughput(**where):
    return Throughput(
        circumstances=circumstances(**where),
        executes="openvino 1.0 on cpu",
        device="cpu",
        precision="bf16",
        tta="full",
        batch=1,
        threads=2,
        scans=8,
        slices=400,
        slices_executed=390,
        slices_in_all_views=390,
        views=3120,
        seconds=100,
        scans_per_hour=288,
        views_per_s=31.2,
        views_per_s_alone=[31, 33],
        share_of_alone=0.975,
        batch_under_way=0.99,
        seconds_a_scan={"read": 0.1, "execute": 12},
        peak_memory_mb=900,
        memory_mb=[1] * 10,
        timeline=[],
    )


def test_of_each_way_the_fastest_batch_in_eight_views_counts():
    rows = [
        latency_row(batch=1, slices_per_s=2),
        latency_row(batch=4, slices_per_s=3),
        latency_row(batch=8, slices_per_s=2.5),
        latency_row(views=1, slices_per_s=20),
    ]
    (entry,) = compare([latency(rows)]).entries
    assert (entry.name, entry.slices_per_s) == ("openvino, bf16", 3)
    assert entry.device == "AMD EPYC 9B14, 2 cores"
    assert entry.mean_dice is None


def test_what_was_measured_twice_counts_as_it_was_later():
    early, late = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    results = [
        latency([latency_row(slices_per_s=2)], made=late),
        latency([latency_row(slices_per_s=9)], made=early),
    ]
    assert [entry.slices_per_s for entry in compare(results).entries] == [2]


def test_accuracy_is_that_of_the_same_model_backend_and_precision():
    rows = [latency_row(), latency_row(precision="fp32", slices_per_s=1)]
    results = [latency(rows), accuracy(0.8), accuracy(0.3, model="other")]
    dice = {entry.precision: entry.mean_dice for entry in compare(results).entries}
    assert dice == {"bf16": 0.8, "fp32": None}


def test_what_took_turns_says_how_many_times_faster_it_is_and_latency_how_fast():
    results = [latency([latency_row(precision="fp32", slices_per_s=3)]), baseline()]
    for some in (results, results[::-1]):
        entries = {entry.name: entry for entry in compare(some).entries}
        assert set(entries) == {"PyTorch, merged, fp32", "openvino, fp32"}
        assert entries["PyTorch, merged, fp32"].slices_per_s == 0.5  # 4 views a second
        assert entries["PyTorch, merged, fp32"].times_faster == 1.3
        assert entries["openvino, fp32"].times_faster == 2.5


def test_machines_of_one_processor_in_two_folders_are_two_machines():
    results = [latency([latency_row(slices_per_s=2)]), latency([latency_row(slices_per_s=3)])]
    results += [baseline(), baseline()]
    found = compare(results, ["here", "there", "here", "there"])
    assert {entry.device for entry in found.entries} == {
        "AMD EPYC 9B14 in here, 2 cores",
        "AMD EPYC 9B14 in there, 2 cores",
    }
    assert len(found.entries) == 6
    alike = compare(results, ["here"] * 4)
    assert {entry.device for entry in alike.entries} == {"AMD EPYC 9B14, 2 cores"}


def test_of_several_data_sets_the_largest_says_how_accurate_it_is():
    few, many = accuracy(0.5), accuracy(0.8).model_copy(update={"scans": 12})
    for results in ([few, many], [many, few]):
        (entry,) = compare([latency([latency_row()]), *results]).entries
        assert entry.mean_dice == 0.8


def test_two_trainings_of_one_recipe_are_two_models():
    second = latency([latency_row()])
    model = second.circumstances.model.model_copy(update={"model_id": "another"})
    second = second.model_copy(
        update={"circumstances": second.circumstances.model_copy(update={"model": model})}
    )
    assert len(compare([latency([latency_row()]), second]).models) == 2


def test_machines_and_models_are_told_apart():
    gpu = latency_row(backend="rtx", precision="fp16", device="NVIDIA GeForce RTX 4090")
    found = compare(
        [latency([latency_row()]), latency([gpu]), latency([latency_row()], model="tiny")]
    )
    assert [len(entries) for _, entries in found.models] == [2, 1]
    assert {entry.device for entry in found.entries} == {"AMD EPYC 9B14, 2 cores", "RTX 4090"}
    many = Machine.model_validate(circumstances().machine.model_dump() | {"cores": 96})
    assert many.cores == 96


def test_the_table_says_what_was_measured_and_leaves_blank_what_was_not():
    rows = [latency_row(refused="mask Dice is 0.98", share_of_peak=0.25)]
    text = table(compare([latency(rows), accuracy(0.8123), throughput()]))
    (line,) = [line for line in text.splitlines() if "openvino, bf16" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        *("AMD EPYC 9B14, 2 cores", "openvino, bf16", "2", "", "50%", "25%", "0.9900"),
        *("0.8123, cubes", "refused by wmh-infer"),
    ]
    assert "| 288 | 31.2 | 98% | 900 |" in text
    blank = table(compare([latency([latency_row(share_of_products=None)])]))
    assert "| 2 |  |  |  | 0.9900 |  |  |" in blank


def colored(picture, color):
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == rgb).all(axis=2).sum())


def test_the_picture_has_a_bar_for_each_way_as_long_as_it_is_fast():
    gpu = latency_row(backend="rtx", precision="fp16", device="A GPU", slices_per_s=200)
    found = compare([latency([latency_row()]), latency([gpu])])
    light = np.asarray(Image.open(io.BytesIO(draw_comparison(found))).convert("RGB"))
    dark = np.asarray(Image.open(io.BytesIO(draw_comparison(found, DARK))).convert("RGB"))
    assert light[0, 0].min() == 255
    assert dark[0, 0].max() < 40
    for picture in (light, dark):
        left = picture[:, : picture.shape[1] // 2]
        slow, fast = (colored(left, color) for color in COLORS[:2])
        # Logarithmic from half of the least: log(200 / 1) against log(2 / 1), 7.6 times as long.
        assert fast > 3 * slow > 0


def test_a_result_comes_back_as_it_was_written(tmp_path):
    for result in (latency([latency_row()]), baseline(), accuracy(None), throughput()):
        write_result(tmp_path / "r.json", result)
        assert read_result(tmp_path / "r.json") == result


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is no result that can be compared"),
        ('{"kind": "counts"}', "is no result that can be compared"),
        ('{"kind": "latency"}', "circumstances is missing"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, content, says):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=says):
        read_result(tmp_path / "r.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_the_published_schema_is_that_of_the_program():
    published = REPOSITORY / "docs" / "results.schema.json"
    advice = "write it anew: python -m wmh_bench.results > docs/results.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == schema(), advice


def test_all_that_is_published_can_be_compared():
    paths = sorted((REPOSITORY / "benchmarks" / "results").glob("*/*.json"))
    assert paths
    found = compare([read_result(path) for path in paths])
    assert found.entries
    assert found.runs


def test_results_that_say_nothing_of_speed_are_no_comparison(tmp_path, run_command):
    write_result(tmp_path / "r.json", accuracy(0.8))
    status, _, errors = run_command(main, "compare", tmp_path / "r.json", "--out", tmp_path / "o")
    assert (status, "the results: say nothing of speed" in errors) == (2, True)
    assert not (tmp_path / "o").exists()


def test_the_command_writes_table_and_pictures(tmp_path, run_command):
    write_result(tmp_path / "r.json", latency([latency_row()]))
    status, said, errors = run_command(
        main, "compare", tmp_path / "r.json", "--out", tmp_path / "o"
    )
    assert status == 0, errors
    assert "openvino, bf16" in said
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["comparison-dark.png", "comparison.md", "comparison.png"]
