"""A student beside its teacher: Dice and times of whole runs."""

import json

from benchmarks.dev.cli import main
from tests.toys import write_annotated_heads, write_toy_bundle


def test_a_model_beside_itself(run_command, tmp_path):
    heads = write_annotated_heads(tmp_path / "heads", 3)
    bundle, results = write_toy_bundle(tmp_path / "bundle"), tmp_path / "results.json"
    options = ("--backend", "onnxruntime", "--precision", "fp32", "--scans", 2, "--turns", 2)
    status, out, err = run_command(
        main, "distillation", bundle, bundle, heads, *options, "--results", results
    )
    assert status == 0, err
    assert "the student has 100.0 % of the Dice" in out
    measured = json.loads(results.read_text())
    assert (measured["scans"], measured["tta"]) == (2, "none")
    # The toy network finds exactly the bright squares, which are the masks.
    assert measured["teacher"]["dice"] == measured["student"]["dice"] == [1, 1]
    assert measured["share_of_dice"] == 1
    assert len(measured["student"]["seconds_by_turn"]) == 2
    assert measured["speedup"] > 0
