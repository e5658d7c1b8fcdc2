import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from wmh_runtime.backends.registry import CPU_BACKENDS
from wmh_runtime.bundle.accuracy import LoadAccuracy
from wmh_runtime.bundle.bundle import load_bundle, shipped_bundles
from wmh_runtime.errors import BundleError
from wmh_runtime.files import links


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(manifest))


def test_complete_bundle_opens(toy_bundle):
    bundle = load_bundle(toy_bundle)
    assert bundle.manifest.name == "toy"
    assert bundle.path_of(bundle.graph(views=8, precision="fp32")).is_file()


def test_error_for_a_missing_bundle_lists_the_shipped_ones(tmp_path):
    with pytest.raises(BundleError, match=r"is not a bundle folder.*demo"):
        load_bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"without manifest\.json"):
        load_bundle(tmp_path)


def test_a_folder_with_the_name_of_a_shipped_bundle_needs_a_path(toy_bundle, tmp_path, monkeypatch):
    shutil.copytree(toy_bundle, tmp_path / "demo")
    monkeypatch.chdir(tmp_path)
    assert load_bundle("demo").manifest.name == "demo"
    for folder in ("./demo", Path("demo"), tmp_path / "demo"):
        assert load_bundle(folder).manifest.name == "toy"


def test_one_changed_byte_is_detected(toy_bundle):
    graph = toy_bundle / "graphs" / "8-view.fp32.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with pytest.raises(BundleError, match=r"8-view\.fp32\.onnx: has SHA-256 .* Copy the bundle"):
        load_bundle(toy_bundle)


def test_error_names_a_missing_file(toy_bundle):
    (toy_bundle / "graphs" / "1-view.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"1-view\.fp32\.onnx: is missing"):
        load_bundle(toy_bundle)


def test_newer_schema_version_error_says_to_upgrade(toy_bundle):
    change_manifest(toy_bundle, schema_version=4, novelty="unknown to this version")
    with pytest.raises(BundleError, match=r"version 4, this program reads version 3\. Upgrade"):
        load_bundle(toy_bundle)


def test_older_schema_version_error_says_to_export_again(toy_bundle):
    change_manifest(toy_bundle, schema_version=1)
    with pytest.raises(BundleError, match=r"version 1, this program reads version 3\. Export"):
        load_bundle(toy_bundle)


def test_error_names_an_unknown_key(toy_bundle):
    change_manifest(toy_bundle, treshold=0.5)
    with pytest.raises(BundleError, match="treshold"):
        load_bundle(toy_bundle)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\xff"])
def test_error_for_a_broken_manifest_is_one_line(toy_bundle, content):
    (toy_bundle / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(BundleError) as raised:
        load_bundle(toy_bundle)
    assert "manifest.json" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("path", ["../outside.onnx", "..\\outside.onnx", "absolute", "C:/a.onnx"])
def test_path_that_leads_out_of_the_bundle_is_rejected(toy_bundle, path):
    outside = toy_bundle.parent / "outside.onnx"
    graphs = json.loads((toy_bundle / "manifest.json").read_text())["graphs"]
    shutil.copy(toy_bundle / graphs[0]["path"], outside)
    graphs[0]["path"] = str(outside) if path == "absolute" else path
    change_manifest(toy_bundle, graphs=graphs)
    with pytest.raises(BundleError, match="outside the bundle"):
        load_bundle(toy_bundle)


def as_in_a_hub_cache(bundle, hub):
    """Copy a bundle as the cache of a model hub has it: numbered blobs, and a folder of links."""
    (hub / "blobs").mkdir(parents=True)
    for number, path in enumerate(sorted(p for p in bundle.rglob("*") if p.is_file())):
        blob = hub / "blobs" / str(number)
        shutil.copy(path, blob)
        link = hub / "snapshots" / "main" / path.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return hub / "snapshots" / "main"


@pytest.mark.parametrize("backend", CPU_BACKENDS)
@pytest.mark.parametrize("cache_is_writable", [True, False])
def test_a_bundle_of_links_runs(tmp_path, monkeypatch, backend, cache_is_writable):
    """With weights in a file of their own, which some libraries do not follow links to."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(links, "user_cache_folder", lambda: cache)
    if not cache_is_writable:
        cache.write_text("in the way")
    linked = load_bundle(as_in_a_hub_cache(load_bundle("demo").folder, tmp_path / "hub"))
    outputs = []
    for bundle in (load_bundle("demo"), linked):
        with backend.from_bundle(bundle, views=1) as network:
            outputs.append(network.predict(np.ones((1, *network.shape.input_shape), np.float32)))
    np.testing.assert_array_equal(*outputs)
    assert not cache.is_dir() or not list(cache.iterdir())


def test_the_content_behind_a_link_counts(toy_bundle, tmp_path):
    folder = as_in_a_hub_cache(toy_bundle, tmp_path / "hub")
    load_bundle(folder)
    graph = folder / "graphs" / "8-view.fp32.onnx"
    blob = graph.resolve()
    blob.write_bytes(blob.read_bytes() + b" ")
    with pytest.raises(BundleError, match=r"8-view\.fp32\.onnx: has SHA-256"):
        load_bundle(folder)
    blob.unlink()
    with pytest.raises(BundleError, match=r"8-view\.fp32\.onnx: is missing"):
        load_bundle(folder)


def test_file_that_the_manifest_does_not_list_is_rejected(toy_bundle):
    (toy_bundle / "graphs" / "weights.bin").write_bytes(b"a graph may read this")
    with pytest.raises(BundleError, match=r"contains weights\.bin, which the manifest does not"):
        load_bundle(toy_bundle)


def test_hidden_files_of_a_desktop_are_ignored(toy_bundle):
    (toy_bundle / "graphs" / ".DS_Store").write_bytes(b"")
    load_bundle(toy_bundle)


def test_error_for_an_unreadable_bundle_is_one_line(toy_bundle, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wmh_runtime.bundle.bundle.sha256_file", refuse)
    with pytest.raises(BundleError, match=r"cannot be read .*Permission denied"):
        load_bundle(toy_bundle)


def test_model_id_depends_on_everything_that_affects_a_mask_only(toy_bundle):
    manifest = load_bundle(toy_bundle).manifest
    renamed = manifest.model_copy(update={"name": "other", "library_versions": {"torch": "9"}})
    assert renamed.model_id == manifest.model_id
    calibration = manifest.calibration
    for index in (0, 1):  # eight views, one view
        points = list(calibration.operating_points)
        output = points[index].outputs[0].model_copy(update={"threshold": 0.76})
        points[index] = points[index].model_copy(update={"outputs": [output]})
        for other in ({"operating_points": points}, {"empty_slice_thresholds": [0.61]}):
            changed = calibration.model_copy(update=other)
            assert (
                manifest.model_copy(update={"calibration": changed}).model_id != manifest.model_id
            )
    first, *others = manifest.graphs
    for other_use in ({"views": 8}, {"precision": "fp16"}):  # the same file for another use
        graphs = [first.model_copy(update=other_use), *others]
        assert manifest.model_copy(update={"graphs": graphs}).model_id != manifest.model_id


def test_operating_points_of_different_outputs_are_refused(toy_bundle):
    content = json.loads((toy_bundle / "manifest.json").read_text())
    content["calibration"]["operating_points"][1]["outputs"][0]["name"] = "stroke"
    (toy_bundle / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(
        BundleError, match=r"outputs \[\['wmh'\], \['stroke'\]\], expected the same"
    ):
        load_bundle(toy_bundle)


def warnings_of(manifest, accuracy=None, **calibration):
    changed = manifest.calibration.model_copy(update=calibration)
    return manifest.model_copy(update={"calibration": changed, "accuracy": accuracy}).warnings


def test_a_model_warns_of_its_weaknesses_by_itself(toy_bundle):
    manifest = load_bundle(toy_bundle).manifest
    accuracy = manifest.accuracy
    assert warnings_of(manifest, accuracy) == []
    assert warnings_of(manifest, accuracy, scans=10) == []
    assert warnings_of(manifest, accuracy, scans=1) == [
        "the thresholds of this model were chosen on 1 validation scan only"
    ]
    assert warnings_of(manifest) == [
        "the accuracy of this model has not been measured on other scans"
    ]
    few = accuracy.model_copy(update={"scans": 2})
    assert warnings_of(manifest, few) == ["the accuracy of this model was measured on 2 scans only"]
    for dice in (0.43, float("nan")):
        points = [
            point.model_copy(update={"mean_dice": [dice]})
            for point in manifest.calibration.operating_points
        ]
        assert warnings_of(manifest, accuracy, operating_points=points) == []
        assert len(warnings_of(manifest, few, operating_points=points)) == 2
        _, warning = warnings_of(manifest, operating_points=points)
        assert warning.endswith(f"wmh masks of validation scans have a mean Dice of {dice:.2f}")


def test_a_weak_model_warns_once_with_its_accuracy_by_load(toy_bundle):
    manifest = load_bundle(toy_bundle).manifest
    scores = dict.fromkeys(
        ["h95_mm", "avd_percent", "lesion_recall", "lesion_precision", "lesion_f1"]
    )
    loads = [
        LoadAccuracy(load=load, scans=1, dice=dice, volume_bias_ml=0, **scores)
        for load, dice in (("under 2", 0.26), ("30 and more", 0.681))
    ]
    weak = manifest.accuracy.model_copy(update={"mean_dice": 0.434, "scans": 2, "by_load": loads})
    assert warnings_of(manifest, weak) == [
        "this model is inaccurate: mean Dice 0.43 on toy scans (2 scans; under 2 mL: 0.26,"
        " 30 and more mL: 0.68); check the masks in the pictures"
    ]
    without_loads = weak.model_copy(update={"by_load": []})
    (warning,) = warnings_of(manifest, without_loads)
    assert "on toy scans (2 scans); check" in warning


def test_missing_graph_error_lists_the_graphs(toy_bundle):
    with pytest.raises(BundleError, match=r"no 8-view int8 graph, only 1-view fp32, 8-view fp32"):
        load_bundle(toy_bundle).graph(views=8, precision="int8")


def test_demo_bundle_is_complete_and_small():
    assert "demo" in shipped_bundles()
    folder = load_bundle("demo").folder
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size_bytes < 12e6  # three precisions and the reference outputs
