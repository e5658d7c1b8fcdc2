"""What got worse, and whether the program has: counts, the same on every machine."""

import pytest

from benchmarks.dev.cli import main
from benchmarks.dev.counts import Counts, GraphCounts, ScanCounts, count_export
from benchmarks.dev.gate import changed_counts, changed_ratios
from tests.benchmarks.test_compare import baseline
from tests.toys import small_recipe


def counts(**changes):
    facts = {
        "recipe": "net",
        "size_px": 32,
        "gflop_a_view": 2.0,
        "weights_bytes": {"fp32": 400},
        "graphs": {"1-view.fp32": GraphCounts(operators={"MatMul": 3}, file_bytes=100)},
        "attention_layers": 12,
        "fused_attention": 12,
        "scans": [ScanCounts(scan="a", slices=9, executed=8, looked_again=4, peak_kb=1000)],
    }
    return Counts.model_validate(facts | changes)


def scan(**changes):
    return [counts().scans[0].model_copy(update=changes)]


def graph(**operators):
    return {"1-view.fp32": GraphCounts(operators=operators, file_bytes=100)}


def test_what_is_the_same_is_no_change():
    assert changed_counts(counts(), counts()) == []


@pytest.mark.parametrize(
    ("changes", "what", "is_worse"),
    [
        ({"gflop_a_view": 2.1}, "GFLOP a view", True),
        ({"gflop_a_view": 1.9}, "GFLOP a view", False),
        ({"weights_bytes": {"fp32": 401}}, "bytes of weights in fp32", True),
        ({"graphs": graph(MatMul=4)}, "MatMul in 1-view.fp32", True),
        ({"graphs": graph(MatMul=3, Pad=1)}, "Pad in 1-view.fp32", True),
        ({"fused_attention": 11}, "fused attention layers", True),
        ({"graphs": {}}, "bytes of 1-view.fp32", True),
        ({"graphs": graph()}, "MatMul in 1-view.fp32", False),
        ({"scans": []}, "a slices executed", True),
        ({"scans": scan(executed=9)}, "a slices executed", True),
        ({"scans": scan(looked_again=3)}, "a slices looked at again", False),
        ({"scans": scan(peak_kb=1031)}, "a peak_kb", True),
    ],
)
def test_more_is_worse_but_of_fused_layers(changes, what, is_worse):
    change, *_ = [c for c in changed_counts(counts(), counts(**changes)) if c.what == what]
    assert change.is_worse is is_worse


def test_memory_may_vary_a_little_and_an_engine_may_not_be_there():
    assert changed_counts(counts(), counts(scans=scan(peak_kb=1029))) == []
    for before, after in ((12, None), (None, 12), (None, None)):
        changed = changed_counts(counts(fused_attention=before), counts(fused_attention=after))
        assert changed == []


@pytest.mark.parametrize(
    ("times_faster", "expected"), [(1.3, []), (1.11, []), (1.1, [True]), (1.5, [False])]
)
def test_ratios_count_beyond_what_noise_does(times_faster, expected):
    """The one before is 1.3: 15 % below are 1.105, above 1.495."""
    before = baseline()
    row = before.rows[0].model_copy(update={"times_faster": times_faster})
    after = before.model_copy(update={"rows": [row, before.rows[1]]})
    assert [change.is_worse for change in changed_ratios(before, after)] == expected


def test_a_way_that_is_gone_is_worse():
    before = baseline()
    after = before.model_copy(update={"rows": before.rows[:1]})
    (change,) = changed_ratios(before, after)
    assert change.is_worse
    assert "openvino" in change.what


def test_the_command_ends_with_1_where_something_got_worse(tmp_path, run_command):
    paths = {}
    for name, result in {
        "before": counts(),
        "worse": counts(gflop_a_view=3),
        "better": counts(gflop_a_view=1),
        "baseline": baseline(),
    }.items():
        paths[name] = tmp_path / f"{name}.json"
        paths[name].write_text(result.model_dump_json())

    def gate(before, after):
        return run_command(main, "gate", paths[before], paths[after])

    assert gate("before", "before")[:2] == (0, "nothing got worse\n")
    status, said, _ = gate("before", "worse")
    assert (status, said) == (1, "worse: GFLOP a view, 2 before, 3 now\n")
    assert gate("before", "better")[0] == 0
    status, _, errors = gate("before", "baseline")
    assert (status, "is of a baseline of net at 512 pixels on AMD" in errors) == (2, True)
    assert gate("baseline", "baseline")[:2] == (0, "nothing got worse\n")
    paths["tiny"] = tmp_path / "tiny.json"
    paths["tiny"].write_text(counts(recipe="tiny").model_dump_json())
    status, _, errors = gate("before", "tiny")
    assert (status, "is of counts of tiny at 32 pixels" in errors) == (2, True)
    paths["none"] = tmp_path / "none.json"
    assert gate("before", "none")[0] == 2


def test_an_export_is_counted():
    found = count_export(small_recipe())
    one, eight = found.graphs["1-view.fp32"], found.graphs["8-view.fp32"]
    assert one.operators["Softmax"] == found.attention_layers == 2
    assert eight.operators["Mean"] == 1
    assert found.graphs["8-view.fp16"].operators["Cast"] > 0
    assert found.weights_bytes["fp32"] > 1.8 * found.weights_bytes["fp16"]
