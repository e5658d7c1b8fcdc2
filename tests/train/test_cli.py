"""The commands of wmh-train, with files as input and output."""

import re
import shutil

from tests.toys import write_annotated_heads, write_head, write_toy_bundle
from tests.training_toys import SMALL_RECIPE, lora_recipe, write_small_pretrained, write_toml
from wmh_train.checkpoint import load_metadata
from wmh_train.launcher import main


def test_describe_prints_the_cost_of_the_method(run_command):
    status, out, _ = run_command(main, "describe", "wmh-lora")
    assert status == 0
    assert "7.05 M of 94.3 M, 7.5%" in out
    assert "512 × 512 pixels of 0.5 mm" in out
    assert "209.0 GFLOP per view of a slice, as exported" in out
    assert "wmh-train fit shows it after its first steps" in out
    assert "  LoRA  " in out


def test_describe_lists_only_parts_that_the_network_has(run_command):
    status, out, _ = run_command(main, "describe", "m3sl-small")
    assert status == 0
    assert "0.496 M of 0.496 M, 100.0%" in out
    assert "LoRA" not in out
    assert "stage gold             layers 1 to 10 frozen" in out


def calibrate_to(calibration, dice, monkeypatch):
    """Let the next calibrations give a mean Dice."""
    points = [
        point.model_copy(update={"mean_dice": [dice]}) for point in calibration.operating_points
    ]
    changed = calibration.model_copy(update={"operating_points": points})
    monkeypatch.setattr("wmh_train.commands.training.calibrate_checkpoint", lambda *_: changed)


def test_fit_then_calibrate(run_command, tmp_path, monkeypatch):
    heads = write_annotated_heads(tmp_path / "heads", 8)
    (heads / "derivatives" / "reference" / "sub-07_label-WMH_mask.nii.gz").unlink()
    schedule = SMALL_RECIPE["schedule"] | {"restart_epochs": 50}
    recipe = write_toml(tmp_path / "mine.toml", SMALL_RECIPE | {"schedule": schedule})
    run = tmp_path / "run"
    status, out, err = run_command(main, "fit", recipe, "--data", heads, "--out", run)
    assert status == 0, err
    assert "skipped 1 scan without a reference mask, such as sub-07" in err
    assert "warning: the learning rate is still 100% of its highest value at the end" in err
    assert "starting at step 0 on 1 × cpu" in out
    assert "epoch 2/2: loss" in out
    before_the_first_epoch, _, _ = out.partition("epoch 1/2")
    assert re.search(r"a step takes \S+ s; about 0 min left", before_the_first_epoch)
    assert out.count("a step takes") == 1
    assert f"Next: wmh-train calibrate {run} --data {heads}" in out
    status, out, err = run_command(main, "calibrate", run, "--data", heads)
    assert status == 0, err
    assert "wmh, 8 views: threshold" in out
    assert "wmh, 1 view: threshold" in out
    calibration = load_metadata(run).calibration
    assert calibration is not None
    for dice in (0.0, 0.5):
        calibrate_to(calibration, dice, monkeypatch)
        status, out, err = run_command(main, "calibrate", run, "--data", heads)
        assert status == 0
        assert ("no lesion is found at any threshold" in err) == (dice == 0)
        assert (f"Next: wmh-export build {run} --out bundles/run\n" in out) == (dice > 0)
    status, _, err = run_command(main, "fit", "tiny", "--data", heads, "--out", run)
    assert status == 2
    assert "contains a checkpoint of another training: its " in err


SOFT = SMALL_RECIPE | {
    "loss": SMALL_RECIPE["loss"] | {"focal_alpha": 0.5, "focal_gamma": 0},
}


def test_a_network_learns_the_probabilities_of_a_bundle(run_command, tmp_path):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    new = tmp_path / "new"
    for number in range(20, 23):
        write_head(new / f"sub-{number}_FLAIR.nii.gz", seed=number)
    (new / "sub-23_FLAIR.nii.gz").write_bytes(b"not an image")
    recipe = write_toml(tmp_path / "soft.toml", SOFT)
    bundle, run = write_toy_bundle(tmp_path / "bundle"), tmp_path / "run"
    fit = (main, "fit", recipe, "--data", heads, "--out", run)
    status, out, err = run_command(*fit, "--teacher", bundle, "--unlabelled", new)
    assert status == 0, err
    assert "sub-23_FLAIR.nii.gz" in err
    assert "1 unlabelled scan without probabilities of the teacher: sub-23" in err
    assert "training: 6 scans, 36 slices, " in out
    assert " (3 scans with probabilities of toy, not masks), " in out
    metadata = load_metadata(run)
    teacher = metadata.provenance.teacher
    assert teacher is not None
    assert (teacher.name, teacher.scans) == ("toy", 3)
    assert set(metadata.split.training) >= {"sub-20", "sub-21", "sub-22"}
    assert len(metadata.provenance.learned_images) == 6
    status, out, err = run_command(main, "calibrate", run, "--data", heads)
    assert status == 0, err
    # A scan is repaired. With it, the training would be another one, so it is not segmented.
    write_head(new / "sub-23_FLAIR.nii.gz", seed=23)
    status, out, err = run_command(*fit, "--teacher", bundle, "--unlabelled", new)
    assert (status, "starting at step" in out, "to segment" in out) == (0, False, False), err
    assert "1 unlabelled scan without probabilities of the teacher: sub-23" in err
    # The maps are those of an earlier run, and the training is finished: nothing is done again.
    status, out, err = run_command(*fit, "--teacher", *run.glob("teacher-*"), "--unlabelled", new)
    assert (status, "starting at step" in out) == (0, False), err


def test_what_a_teacher_cannot_teach_is_one_line(run_command, tmp_path):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    bundle, run = write_toy_bundle(tmp_path / "bundle"), tmp_path / "run"
    hard, soft = (
        write_toml(tmp_path / f"{name}.toml", recipe)
        for name, recipe in (
            ("hard", SMALL_RECIPE),
            ("soft", SOFT | {"outputs": ["lacune"]}),
        )
    )
    new = write_head(tmp_path / "new" / "sub-20_FLAIR.nii.gz", seed=20).parent
    fit = ("--data", heads, "--out", run, "--unlabelled", new, "--teacher")
    for recipe, teacher, problem in (
        (hard, bundle, "loss.focal_gamma 2 and focal_alpha 0.75, which would shift"),
        (soft, bundle, "predicts wmh, the recipe needs lacune"),
        (hard, tmp_path / "none", "would shift"),
    ):
        write_lacunes(heads)
        status, _, err = run_command(main, "fit", recipe, *fit, teacher)
        assert status == 2
        assert problem in err
        assert not run.exists()
    known = ("--unlabelled", heads, "--teacher", bundle)
    soft_wmh = write_toml(tmp_path / "soft-wmh.toml", SOFT)
    status, out, err = run_command(main, "fit", soft_wmh, "--data", heads, "--out", run, *known)
    assert (status, "to segment" in out) == (2, False)
    assert "no unlabelled scan is left of 4: not learned: 4 unlabelled scans also among" in err
    status, _, err = run_command(main, "fit", hard, "--data", heads, "--out", run, "--teacher", "a")
    assert (status, "--teacher: needs --unlabelled" in err) == (2, True)
    status, _, err = run_command(main, "fit", hard, *fit[:-1])
    assert (status, "--unlabelled: needs --teacher" in err) == (2, True)


def write_lacunes(heads):
    """Give each head a mask of lacunes, too."""
    for mask in (heads / "derivatives" / "reference").glob("*label-WMH*"):
        shutil.copyfile(mask, mask.with_name(mask.name.replace("WMH", "LACUNE")))


def test_a_frozen_encoder_is_trained_and_calibrated_with_its_pretrained_weights(
    run_command, tmp_path, monkeypatch
):
    heads = write_annotated_heads(tmp_path / "heads", 6)
    pretrained = write_small_pretrained(tmp_path / "pretrained.pth")
    recipe = write_toml(tmp_path / "mine.toml", lora_recipe().model_dump(mode="json"))
    run = tmp_path / "run"
    status, out, err = run_command(
        main, "fit", recipe, "--data", heads, "--out", run, "--pretrained", pretrained
    )
    assert status == 0, err
    assert f"--pretrained {pretrained}" in out
    status, _, err = run_command(main, "calibrate", run, "--data", heads)
    assert status == 2
    assert "needs the pretrained weights pretrained.pth, which it does not contain" in err
    command = (main, "calibrate", run, "--data", heads, "--pretrained", pretrained)
    status, out, err = run_command(*command)
    assert status == 0, err
    calibrate_to(load_metadata(run).calibration, 0.5, monkeypatch)
    _, out, _ = run_command(*command)
    assert f"Next: wmh-export build {run} --out bundles/run --pretrained {pretrained}\n" in out


def test_cross_validate_reports_on_all_scans(run_command, tmp_path):
    heads = write_annotated_heads(tmp_path / "heads", 4)
    recipe = write_toml(tmp_path / "mine.toml", SMALL_RECIPE)
    arguments = (recipe, "--data", heads, "--out", tmp_path / "cv", "--folds", 2)
    status, out, err = run_command(main, "cross-validate", *arguments)
    assert status == 0, err
    assert "fold 2 of 2" in out
    assert "over 4 scans, each segmented by a network not trained on it" in out
