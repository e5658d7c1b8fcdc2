"""The comparison of counts and baselines."""

import pytest

from benchmarks.dev.cli import main
from benchmarks.dev.counts import Counts, GraphCounts, ScanCounts, count_export
from benchmarks.dev.regression_check import changed_counts, changed_speedups
from tests.benchmarks.test_compare import baseline
from tests.training_toys import small_recipe


def counts(**changes):
    values = {
        "recipe": "net",
        "size_px": 32,
        "gflop_per_view": 2.0,
        "weights_bytes": {"fp32": 400},
        "graphs": {"1-view.fp32": GraphCounts(operators={"MatMul": 3}, file_bytes=100)},
        "attention_layers": 12,
        "fused_attention_layers": 12,
        "scans": [
            ScanCounts(scan="a", slices=9, slices_executed=8, slices_in_all_views=4, peak_kb=1000)
        ],
    }
    return Counts.model_validate(values | changes)


def scan(**changes):
    return [counts().scans[0].model_copy(update=changes)]


def graph(**operators):
    return {"1-view.fp32": GraphCounts(operators=operators, file_bytes=100)}


def test_equal_counts_are_no_change():
    assert changed_counts(counts(), counts()) == []


@pytest.mark.parametrize(
    ("changes", "name", "is_worse"),
    [
        ({"gflop_per_view": 2.1}, "GFLOP per view", True),
        ({"gflop_per_view": 1.9}, "GFLOP per view", False),
        ({"weights_bytes": {"fp32": 401}}, "bytes of weights in fp32", True),
        ({"graphs": graph(MatMul=4)}, "MatMul in 1-view.fp32", True),
        ({"graphs": graph(MatMul=3, Pad=1)}, "Pad in 1-view.fp32", True),
        ({"fused_attention_layers": 11}, "fused attention layers", True),
        ({"graphs": {}}, "bytes of 1-view.fp32", True),
        ({"graphs": graph()}, "MatMul in 1-view.fp32", False),
        ({"scans": []}, "a slices executed", True),
        ({"scans": scan(slices_executed=9)}, "a slices executed", True),
        ({"scans": scan(slices_in_all_views=3)}, "a slices in all views", False),
        ({"scans": scan(peak_kb=1031)}, "a peak_kb", True),
    ],
)
def test_a_larger_count_is_worse_except_for_fused_layers(changes, name, is_worse):
    change, *_ = [c for c in changed_counts(counts(), counts(**changes)) if c.name == name]
    assert change.is_worse is is_worse


def test_memory_may_vary_a_little_and_tensorrt_may_be_missing():
    assert changed_counts(counts(), counts(scans=scan(peak_kb=1029))) == []
    for before, after in ((12, None), (None, 12), (None, None)):
        changed = changed_counts(
            counts(fused_attention_layers=before), counts(fused_attention_layers=after)
        )
        assert changed == []


@pytest.mark.parametrize(
    ("speedup", "expected"), [(1.3, []), (1.11, []), (1.1, [True]), (1.5, [False])]
)
def test_small_changes_of_a_speedup_are_ignored(speedup, expected):
    """The speedup before is 1.3. The limits of 15 % are 1.105 and 1.495."""
    before = baseline()
    row = before.rows[0].model_copy(update={"speedup": speedup})
    after = before.model_copy(update={"rows": [row, before.rows[1]]})
    assert [change.is_worse for change in changed_speedups(before, after)] == expected


def test_a_variant_that_disappeared_is_worse():
    before = baseline()
    after = before.model_copy(update={"rows": before.rows[:1]})
    (change,) = changed_speedups(before, after)
    assert change.is_worse
    assert "openvino" in change.name


def test_the_exit_status_is_1_if_something_got_worse(tmp_path, run_command):
    paths = {}
    for name, result in {
        "before": counts(),
        "worse": counts(gflop_per_view=3),
        "better": counts(gflop_per_view=1),
        "baseline": baseline(),
    }.items():
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(result.model_dump_json())

    def check(before, after):
        return run_command(main, "regression-check", paths[before], paths[after])

    assert check("before", "before")[:2] == (0, "nothing got worse\n")
    status, output, _ = check("before", "worse")
    assert (status, output) == (1, "worse: GFLOP per view, 2 before, 3 now\n")
    assert check("before", "better")[0] == 0
    status, _, errors = check("before", "baseline")
    assert (status, "contains a baseline of net at 512 pixels on AMD" in errors) == (2, True)
    assert check("baseline", "baseline")[:2] == (0, "nothing got worse\n")
    paths["tiny"] = tmp_path / "tiny.json"
    paths["tiny"].write_text(counts(recipe="tiny").model_dump_json())
    status, _, errors = check("before", "tiny")
    assert (status, "contains counts of tiny at 32 pixels" in errors) == (2, True)
    paths["none"] = tmp_path / "none.json"
    assert check("before", "none")[0] == 2


def test_an_export_is_counted():
    exported = count_export(small_recipe())
    one, eight = exported.graphs["1-view.fp32"], exported.graphs["8-view.fp32"]
    assert one.operators["Softmax"] == exported.attention_layers == 2
    assert eight.operators["Mean"] == 1
    assert exported.graphs["8-view.fp16"].operators["Cast"] > 0
    assert set(exported.weights_bytes) == {"fp32", "fp16"}
    for_cuda = exported.graphs["8-view.fp16.cuda"].operators
    assert for_cuda["MultiHeadAttention"] == for_cuda["BiasGelu"] == 2
    assert "Mean" not in for_cuda
