"""Results on disk, and their comparison as a table and a picture."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wmh_bench.accuracy import Accuracy, AccuracyRow, CaseAccuracy
from wmh_bench.baseline.result import Baseline, BaselineRow
from wmh_bench.cli import main
from wmh_bench.compare import compare
from wmh_bench.comparison_table import comparison_table
from wmh_bench.environment import Environment, Model
from wmh_bench.latency.result import Latency, LatencyRow
from wmh_bench.machine import Machine
from wmh_bench.pictures.comparison import draw_comparison, explained_terms
from wmh_bench.results import read_result, schema, write_result
from wmh_bench.throughput import Throughput
from wmh_bench.timing.times import Times
from wmh_runtime.errors import InputError
from wmh_runtime.figures.plot_style import COLORS, DARK

REPOSITORY = Path(__file__).resolve().parents[2]
TIMES = Times.from_seconds([0.1] * 10)


def environment(started_at="2026-01-01T00:00:00+00:00", model="net", cpu="AMD EPYC 9B14"):
    machine = Machine(
        cpu=cpu,
        cores=2,
        clock_mhz=None,
        memory_gb=24,
        instructions=[],
        gpus=[],
        system="Linux",
        python="3.11",
        versions={},
    )
    described = Model(
        name=model,
        model_id=f"id of {model}",
        bundle_sha256="",
        size_px=512,
        parameters=1,
        gflop_per_view=209.0,
    )
    return Environment(started_at=started_at, commit="", machine=machine, model=described)


def latency_row(backend="openvino", precision="bf16", **changes):
    values = {
        "backend": backend,
        "backend_description": f"{backend} 1.0 on cpu",
        "device": "cpu",
        "precision": precision,
        "views": 8,
        "batch_size": 1,
        "load_s": 1,
        "first_batch_s": 1,
        "times": TIMES,
        "gpu_times": None,
        "views_per_s": 16,
        "slices_per_s": 2,
        "scans_per_hour": 150,
        "num_streams": 2,
        "clock_mhz": None,
        "tflop_per_s": 1,
        "share_of_matmul_ceiling": 0.5,
        "share_of_peak": None,
        "host_memory_mb": 100,
        "device_memory_mb": None,
        "mask_dice": 0.99,
        "volume_percent": 0.5,
        "max_abs_difference": 0.1,
        "refused": "",
        "warnings": [],
    }
    return LatencyRow.model_validate(values | changes)


def latency(rows, **where):
    return Latency(
        environment=environment(**where),
        min_duration_s=3,
        slices_per_scan=48,
        threads=2,
        gpu_index=0,
        rows=rows,
        ceilings=[],
        skipped={},
    )


def baseline(**where):
    row = BaselineRow(
        name="PyTorch, merged",
        is_runtime=False,
        precision="fp32",
        batch_size=1,
        first_batch_s=1,
        times=TIMES,
        views_per_s=4,
        speedup=1.3,
        min_speedup=1.2,
        max_speedup=1.4,
        tflop_per_s=1,
        share_of_matmul_ceiling=0.6,
        share_of_peak=None,
        device_memory_mb=None,
        max_abs_difference=0,
        mask_dice=0.98,
        warnings=[],
    )
    runtime = {"name": "openvino", "is_runtime": True, "views_per_s": 9, "speedup": 2.5}
    return Baseline(
        environment=environment(**where),
        device="AMD EPYC 9B14",
        threads=2,
        rounds=1,
        matmul_ceiling_tflop_per_s={"fp32": 1},
        copies=None,
        rows=[row, row.model_copy(update=runtime)],
        skipped={},
    )


def accuracy(dice, **where):
    case = CaseAccuracy(name="a", site="", reference_ml=1, volume_ml=1, dice=dice)
    row = AccuracyRow(
        backend="openvino",
        backend_description="openvino 1.0 on cpu",
        device="cpu",
        precision="bf16",
        tta="full",
        metrics={},
        volume_r_squared=None,
        volume_bias_ml=0,
        cases=[case],
    )
    return Accuracy(
        environment=environment(**where),
        data="cubes",
        scans=1,
        threshold_dice={},
        rows=[row],
        skipped={},
    )


def throughput(**where):
    return Throughput(
        environment=environment(**where),
        backend_description="openvino 1.0 on cpu",
        device="cpu",
        precision="bf16",
        tta="full",
        batch_size=1,
        threads=2,
        scans=8,
        slices=400,
        slices_executed=390,
        slices_in_all_views=390,
        views_executed=3120,
        seconds=100,
        scans_per_hour=288,
        views_per_s=31.2,
        backend_only_views_per_s=[31, 33],
        share_of_backend_only=0.975,
        backend_busy_share=0.99,
        seconds_per_scan={"read": 0.1, "predict": 12},
        peak_memory_mb=900,
        memory_by_tenth_mb=[1] * 10,
        timeline=[],
    )


def test_the_fastest_batch_size_in_eight_views_counts():
    rows = [
        latency_row(batch_size=1, slices_per_s=2),
        latency_row(batch_size=4, slices_per_s=3),
        latency_row(batch_size=8, slices_per_s=2.5),
        latency_row(views=1, slices_per_s=20),
    ]
    (speed,) = compare([latency(rows)]).slice_speeds
    assert (speed.name, speed.slices_per_s) == ("openvino, bf16", 3)
    assert speed.device == "AMD EPYC 9B14, 2 cores"
    assert speed.mean_dice is None


def test_the_later_of_two_measurements_counts():
    early, late = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
    results = [
        latency([latency_row(slices_per_s=2)], started_at=late),
        latency([latency_row(slices_per_s=9)], started_at=early),
    ]
    assert [speed.slices_per_s for speed in compare(results).slice_speeds] == [2]


def test_the_accuracy_is_of_the_same_model_backend_and_precision():
    rows = [latency_row(), latency_row(precision="fp32", slices_per_s=1)]
    results = [latency(rows), accuracy(0.8), accuracy(0.3, model="other")]
    dice = {speed.precision: speed.mean_dice for speed in compare(results).slice_speeds}
    assert dice == {"bf16": 0.8, "fp32": None}


def test_speedup_and_dice_are_from_the_baseline_and_the_speed_is_from_the_latency():
    results = [latency([latency_row(precision="fp32", slices_per_s=3)]), baseline()]
    for some in (results, results[::-1]):
        speeds = {speed.name: speed for speed in compare(some).slice_speeds}
        assert set(speeds) == {"PyTorch, merged, fp32", "openvino, fp32"}
        assert speeds["PyTorch, merged, fp32"].slices_per_s == 0.5  # 4 views per second
        assert speeds["PyTorch, merged, fp32"].speedup == 1.3
        assert speeds["openvino, fp32"].speedup == 2.5
        assert speeds["openvino, fp32"].slices_per_s == 3
        assert speeds["openvino, fp32"].mask_dice == 0.98  # on the same slices as PyTorch


def test_machines_with_the_same_cpu_in_two_folders_are_two_machines():
    results = [latency([latency_row(slices_per_s=2)]), latency([latency_row(slices_per_s=3)])]
    results += [baseline(), baseline()]
    found = compare(results, ["here", "there", "here", "there"])
    assert {speed.device for speed in found.slice_speeds} == {
        "AMD EPYC 9B14 in here, 2 cores",
        "AMD EPYC 9B14 in there, 2 cores",
    }
    assert len(found.slice_speeds) == 6
    in_one_folder = compare(results, ["here"] * 4)
    assert {speed.device for speed in in_one_folder.slice_speeds} == {"AMD EPYC 9B14, 2 cores"}


def test_the_largest_data_set_counts():
    few, many = accuracy(0.5), accuracy(0.8).model_copy(update={"scans": 12})
    for results in ([few, many], [many, few]):
        (speed,) = compare([latency([latency_row()]), *results]).slice_speeds
        assert speed.mean_dice == 0.8


def test_two_trainings_of_one_recipe_are_two_models():
    second = latency([latency_row()])
    model = second.environment.model.model_copy(update={"model_id": "another"})
    second = second.model_copy(
        update={"environment": second.environment.model_copy(update={"model": model})}
    )
    assert len(compare([latency([latency_row()]), second]).by_model) == 2


def test_machines_and_models_are_kept_apart():
    gpu = latency_row(backend="rtx", precision="fp16", device="NVIDIA GeForce RTX 4090")
    found = compare(
        [latency([latency_row()]), latency([gpu]), latency([latency_row()], model="tiny")]
    )
    assert [len(speeds) for _, speeds in found.by_model] == [2, 1]
    assert {speed.device for speed in found.slice_speeds} == {"AMD EPYC 9B14, 2 cores", "RTX 4090"}
    many = Machine.model_validate(environment().machine.model_dump() | {"cores": 96})
    assert many.cores == 96


def test_the_table_has_empty_cells_for_values_that_were_not_measured():
    rows = [latency_row(refused="mask Dice is 0.98", share_of_peak=0.25)]
    text = comparison_table(compare([latency(rows), accuracy(0.8123), throughput()]))
    (line,) = [line for line in text.splitlines() if "openvino, bf16" in line]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        *("AMD EPYC 9B14, 2 cores", "openvino, bf16", "2", "", "50%", "25%", "0.9900"),
        *("0.8123, cubes", "refused by wmh-infer"),
    ]
    assert "| 288 | 31.2 | 98% | 900 |" in text
    blank = comparison_table(compare([latency([latency_row(share_of_matmul_ceiling=None)])]))
    assert "| 2 |  |  |  | 0.9900 |  |  |" in blank


def colored(picture, color):
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == rgb).all(axis=2).sum())


def test_the_picture_has_a_bar_for_each_speed():
    gpu = latency_row(backend="rtx", precision="fp16", device="A GPU", slices_per_s=200)
    found = compare([latency([latency_row()]), latency([gpu])])
    light = np.asarray(Image.open(io.BytesIO(draw_comparison(found))).convert("RGB"))
    dark = np.asarray(Image.open(io.BytesIO(draw_comparison(found, DARK))).convert("RGB"))
    assert light[0, 0].min() == 255
    assert dark[0, 0].max() < 40
    for picture in (light, dark):
        left = picture[:, : picture.shape[1] // 2]
        slow, fast = (colored(left, color) for color in COLORS[:2])
        # Logarithmic from half of the lowest: log(200 / 1) / log(2 / 1) is 7.6.
        assert fast > 3 * slow > 0


def test_names_with_special_characters_are_drawn():
    row = latency_row(device="$\\x$ 🧠")
    draw_comparison(compare([latency([row], model="_$\\frac{$" * 40)]))


def test_the_terms_in_the_names_of_variants_are_explained():
    row = latency_row(precision="int8+bf16")
    speeds = compare([latency([row]), baseline()]).slice_speeds
    names = {speed.name for speed in speeds}
    assert any("merged" in name for name in names)
    notes = explained_terms(speeds)
    assert [note.split(":")[0] for note in notes] == ["views", "merged", "int8+bf16"]


def test_a_result_is_read_as_it_was_written(tmp_path):
    for result in (latency([latency_row()]), baseline(), accuracy(None), throughput()):
        write_result(tmp_path / "r.json", result)
        assert read_result(tmp_path / "r.json") == result


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a result of wmh-bench"),
        ('{"kind": "counts"}', "is not a result of wmh-bench"),
        ('{"kind": "latency"}', "environment is missing"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_result(tmp_path / "r.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_result(tmp_path / "none.json")


def test_the_published_schema_is_up_to_date():
    published = REPOSITORY / "docs" / "results.schema.json"
    advice = "run: python -m wmh_bench.results > docs/results.schema.json"
    assert json.loads(published.read_text(encoding="utf-8")) == schema(), advice


def test_all_published_results_can_be_compared():
    paths = sorted((REPOSITORY / "benchmarks" / "results").glob("*/*.json"))
    assert paths
    found = compare([read_result(path) for path in paths])
    assert found.slice_speeds
    assert found.folder_speeds


def test_results_without_a_speed_cannot_be_compared(tmp_path, run_command):
    write_result(tmp_path / "r.json", accuracy(0.8))
    status, _, errors = run_command(main, "compare", tmp_path / "r.json", "--out", tmp_path / "o")
    assert (status, "no result contains a speed" in errors) == (2, True)
    assert not (tmp_path / "o").exists()


def test_the_command_writes_a_table_and_pictures(tmp_path, run_command):
    write_result(tmp_path / "r.json", latency([latency_row()]))
    status, output, errors = run_command(
        main, "compare", tmp_path / "r.json", "--out", tmp_path / "o"
    )
    assert status == 0, errors
    assert "openvino, bf16" in output
    names = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert names == ["comparison-dark.png", "comparison.md", "comparison.png"]
