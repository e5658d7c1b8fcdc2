import json
import shutil

import pytest

from wmh_runtime.bundle.bundle import open_bundle, shipped_bundles
from wmh_runtime.errors import BundleError


def change_manifest(folder, **changes):
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(manifest))


def test_a_whole_bundle_opens(toy_bundle):
    bundle = open_bundle(toy_bundle)
    assert bundle.manifest.name == "toy"
    assert bundle.path_of(bundle.graph(views=8, precision="fp32")).is_file()


def test_what_is_no_bundle_is_refused_with_the_shipped_names(tmp_path):
    with pytest.raises(BundleError, match=r"is not a bundle folder.*demo"):
        open_bundle(tmp_path / "nothing")
    with pytest.raises(BundleError, match=r"without manifest\.json"):
        open_bundle(tmp_path)


def test_one_changed_byte_is_noticed(toy_bundle):
    graph = toy_bundle / "graphs" / "8-view.fp32.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    with pytest.raises(BundleError, match=r"8-view\.fp32\.onnx: has SHA-256 .* copy the bundle"):
        open_bundle(toy_bundle)


def test_a_missing_file_is_named(toy_bundle):
    (toy_bundle / "graphs" / "1-view.fp32.onnx").unlink()
    with pytest.raises(BundleError, match=r"1-view\.fp32\.onnx: is missing"):
        open_bundle(toy_bundle)


def test_a_newer_schema_says_to_upgrade(toy_bundle):
    change_manifest(toy_bundle, schema_version=4, novelty="unknown to this version")
    with pytest.raises(BundleError, match=r"schema version 4, this program reads 3.*Upgrade"):
        open_bundle(toy_bundle)


def test_an_older_schema_says_to_export_again(toy_bundle):
    change_manifest(toy_bundle, schema_version=1)
    with pytest.raises(BundleError, match=r"version 1, this program reads 3\. Export it again"):
        open_bundle(toy_bundle)


def test_an_unknown_key_is_named(toy_bundle):
    change_manifest(toy_bundle, treshold=0.5)
    with pytest.raises(BundleError, match="treshold"):
        open_bundle(toy_bundle)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\xff"])
def test_a_broken_manifest_is_one_clear_line(toy_bundle, content):
    (toy_bundle / "manifest.json").write_text(content, encoding="latin-1")
    with pytest.raises(BundleError) as raised:
        open_bundle(toy_bundle)
    assert "manifest.json" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("way", ["../outside.onnx", "absolute", "symlink"])
def test_no_path_leads_out_of_the_bundle(toy_bundle, way):
    outside = toy_bundle.parent / "outside.onnx"
    graphs = json.loads((toy_bundle / "manifest.json").read_text())["graphs"]
    shutil.copy(toy_bundle / graphs[0]["path"], outside)
    if way == "symlink":
        (toy_bundle / "link.onnx").symlink_to(outside)
        graphs[0]["path"] = "link.onnx"
    else:
        graphs[0]["path"] = str(outside) if way == "absolute" else way
    change_manifest(toy_bundle, graphs=graphs)
    with pytest.raises(BundleError, match="outside the bundle"):
        open_bundle(toy_bundle)


def test_a_file_the_manifest_does_not_name_is_refused(toy_bundle):
    (toy_bundle / "graphs" / "weights.bin").write_bytes(b"what a graph might read")
    with pytest.raises(BundleError, match=r"holds weights\.bin, which its manifest does not name"):
        open_bundle(toy_bundle)


def test_what_a_desktop_leaves_beside_the_graphs_does_not_matter(toy_bundle):
    (toy_bundle / "graphs" / ".DS_Store").write_bytes(b"")
    open_bundle(toy_bundle)


def test_a_bundle_that_cannot_be_read_is_one_clear_line(toy_bundle, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("wmh_runtime.bundle.bundle.sha256_file", refuse)
    with pytest.raises(BundleError, match=r"cannot be read .*Permission denied"):
        open_bundle(toy_bundle)


def test_the_model_id_follows_what_decides_a_mask_and_nothing_else(toy_bundle):
    manifest = open_bundle(toy_bundle).manifest
    renamed = manifest.model_copy(update={"name": "other", "tools": {"torch": "9"}})
    assert renamed.model_id == manifest.model_id
    cut = manifest.outputs[0].model_copy(update={"threshold": 0.76})
    assert manifest.model_copy(update={"outputs": [cut]}).model_id != manifest.model_id
    first, *others = manifest.graphs
    for other_use in ({"views": 8}, {"precision": "fp16"}):  # the same file, taken for another
        graphs = [first.model_copy(update=other_use), *others]
        assert manifest.model_copy(update={"graphs": graphs}).model_id != manifest.model_id


def test_a_graph_that_is_not_there_says_what_is(toy_bundle):
    with pytest.raises(BundleError, match=r"no 8-view int8 graph, only 1-view fp32, 8-view fp32"):
        open_bundle(toy_bundle).graph(views=8, precision="int8")


def test_the_demo_bundle_is_shipped_small_and_whole():
    assert "demo" in shipped_bundles()
    folder = open_bundle("demo").folder
    size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert size_bytes < 12e6  # three precisions and the answers of the parity check
