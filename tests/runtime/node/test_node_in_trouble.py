"""`wmh-node` when it is killed, cut off, full, or gets what it cannot use."""

import re
import shutil
import subprocess

import pytest

from tests.runtime.dicom.head_series import head_images
from tests.runtime.dicom.series_toys import person
from tests.runtime.node.node_process import (
    FakePacs,
    Node,
    associate,
    echo,
    free_port,
    send,
    wait_for,
)
from tests.runtime.node.studies import done, heads, results_of


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: this needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.exhaustive
def test_a_result_that_is_being_sent_is_not_replaced_by_a_later_one(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    pacs = FakePacs(free_port(), answers_after_s=1.5)
    with pacs.listening(), Node(tmp_path / "node", toy_bundle, {"pacs": pacs.port}) as node:
        send(node.port, images[:-1])
        wait_for(lambda: done(node) == 1)
        send(node.port, images[-1:])
        wait_for(lambda: done(node) == 2)
        wait_for(lambda: len(pacs.received) == 6)
    assert len({one.SOPInstanceUID for one in pacs.received}) == 6


def test_a_result_that_cannot_be_read_does_not_stop_the_others(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    pacs = FakePacs(free_port())
    node = Node(tmp_path / "node", toy_bundle, {"pacs": pacs.port})
    outbox = node.queue / "outbox" / "pacs"
    outbox.mkdir(parents=True)
    (outbox / "junk.dcm").write_bytes(b"no DICOM")
    with pacs.listening(), node:
        send(node.port, images)
        wait_for(lambda: len(pacs.received) == 3)
        assert node.page("healthz") == "503 1 result for pacs cannot be read, and set aside\n"
    assert (outbox / "rejected" / "junk.dcm").exists()


@pytest.mark.exhaustive
def test_late_images_of_a_study_whose_images_were_removed_are_not_segmented_alone(
    tmp_path, toy_bundle
):
    (images,) = heads(tmp_path, 1)
    node = Node(tmp_path / "node", toy_bundle, more={"study": ["keep_h = 0"]})
    with node:
        send(node.port, images[:3])
        wait_for(lambda: done(node) == 1)
        node.stop()
    with node:
        wait_for(lambda: not list(node.queue.rglob("images/*.dcm")))
        send(node.port, images[3:])
        wait_for(lambda: node.count('wmh_node_studies_total{outcome="failed"}') == 1)
        send(node.port, images)
        wait_for(lambda: done(node) == 1)
    assert "its other images were removed before; send the whole study again" in (
        node.log.read_text()
    )


def test_a_node_stops_in_order(tmp_path, toy_bundle):
    with Node(tmp_path / "node", toy_bundle) as node:
        assert node.stop() == 0


def test_results_wait_for_a_pacs_that_is_down_and_are_sent_when_it_is_back(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    pacs = FakePacs(free_port(), refusals=1)
    with Node(tmp_path / "node", toy_bundle, {"pacs": pacs.port}) as node:
        send(node.port, images)
        failures = 'wmh_node_send_failures_total{destination="pacs"}'
        wait_for(lambda: node.count(failures) >= 1)
        assert len(list((node.queue / "outbox" / "pacs").glob("*.dcm"))) == 3
        with pacs.listening():
            wait_for(lambda: len(pacs.received) == 3)
        assert len({one.SOPInstanceUID for one in pacs.received}) == 3
    log = node.log.read_text()
    assert re.search(r"pacs: \d results? not sent: it cannot be reached, or does not accept", log)
    assert "it was refused with the status 0xA700" in log


def test_a_killed_node_goes_on_where_it_was(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    node = Node(tmp_path / "node", toy_bundle, more={"study": ["quiet_s = 3.0"]})
    with node:
        send(node.port, images)
        node.kill()
    with node:
        wait_for(lambda: len(results_of(node.results, images)) == 3)


def test_a_full_disk_refuses_images_and_says_so(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    full = {"status": ["min_free_gb = 1000000"]}
    with Node(tmp_path / "node", toy_bundle, more=full) as node:
        assert set(send(node.port, images)) == {0xA700}
        assert node.page("healthz").startswith("503 the disk is full")
        assert node.count('wmh_node_images_refused_total{reason="disk"}') == len(images)
        assert not list((node.queue / "studies").iterdir())


@pytest.mark.exhaustive
def test_a_disk_that_becomes_full_loses_no_image_that_was_confirmed(
    tmp_path, toy_bundle, small_disk
):
    first, second = heads(tmp_path, 2)
    node = Node(small_disk, toy_bundle, more={"study": ["keep_h = 0", "quiet_s = 4.0"]})
    node.log = tmp_path / "log.txt"
    with node:
        filler = small_disk / "filler"
        assert set(send(node.port, first)) == {0}
        filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        statuses = send(node.port, second)
        assert set(statuses) == {0xA700}
        assert "No space left on device" in node.log.read_text()
        filler.unlink()
        wait_for(lambda: len(results_of(node.results, first)) == 3)
        assert set(send(node.port, second)) == {0}
        wait_for(lambda: len(results_of(node.results, second)) == 3)


def test_a_study_that_fails_is_tried_again_and_then_given_up(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    once = {"study": ["attempts = 1"]}
    with Node(tmp_path / "node", toy_bundle, more=once) as node:
        send(node.port, [*images[:2], *images[3:]])
        wait_for(lambda: node.count('wmh_node_studies_total{outcome="failed"}') == 1)
    assert "failed, series 5 lacks 1 slice: slices are 5.00 mm apart" in node.log.read_text()


def test_release_completes_a_study_if_that_is_configured(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    at_once = {"study": ["quiet_s = 3600", "complete_on_release = true"]}
    with Node(tmp_path / "node", toy_bundle, more=at_once) as node:
        send(node.port, images)
        wait_for(lambda: len(results_of(node.results, images)) == 3)


def test_an_image_that_is_too_large_ends_the_association(tmp_path, toy_bundle):
    (large,) = [head_images(tmp_path / "large", who=person())[0]]
    large.Rows, large.Columns, large.PixelData = 1000, 1000, bytes(2_000_000)
    with Node(tmp_path / "node", toy_bundle, more={"listen": ["max_image_mb = 1"]}) as node:
        association = associate(node.port)
        status = association.send_c_store(large)
        assert status.get("Status") is None
        assert node.count('wmh_node_images_refused_total{reason="size"}') == 1
        assert echo(node.port)


@pytest.mark.exhaustive
def test_images_are_removed_when_they_were_kept_long_enough(tmp_path, toy_bundle):
    (images,) = heads(tmp_path, 1)
    node = Node(tmp_path / "node", toy_bundle, more={"study": ["keep_h = 0"]})
    with node:
        send(node.port, images)
        wait_for(lambda: len(results_of(node.results, images)) == 3)
        node.stop()
    with node:
        wait_for(lambda: not list(node.queue.rglob("images/*.dcm")))
        assert len(list(node.queue.glob("records/*.json"))) == 1
