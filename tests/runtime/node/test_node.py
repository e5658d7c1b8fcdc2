"""`wmh-node`: what it receives comes out as results, whatever happens."""

import os
import re
import shutil
import stat
import subprocess
import threading
import time
from io import BytesIO
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pynetdicom import AE

from tests.runtime.dicom.head_series import head_images
from tests.runtime.dicom.series_toys import person, toy_series
from tests.runtime.node.node_process import (
    CALLER,
    PACS,
    FakePacs,
    Node,
    associate,
    echo,
    free_port,
    send,
    wait_for,
)
from tests.toys import write_toy_bundle
from wmh_runtime import FolderOptions, InferenceOptions, load_bundle, segment_folder
from wmh_runtime.node.config import Listen, Study
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.receiver import Receiver
from wmh_runtime.node.schedule import Schedule
from wmh_runtime.phantom.dicom_series import MPRAGE, write_series

KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4",
    "1.2.840.10008.5.1.4.1.1.88.22",
    "1.2.840.10008.5.1.4.1.1.7",
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A node and its PACS for all tests that leave them as they are."""
    folder = tmp_path_factory.mktemp("shared")
    bundle = write_toy_bundle(folder / "bundle")
    pacs = FakePacs(free_port())
    with pacs.listening(), Node(folder / "node", bundle, {"pacs": pacs.port}) as node:
        yield node, pacs, bundle


def done(node) -> float:
    return node.count('wmh_node_studies_total{outcome="done"}')


def heads(folder, count, **changes):
    """Series of different patients."""
    return [
        head_images(folder / str(n), who=person(f"MRN-{n}", name="Curie^Marie"), seed=n, **changes)
        for n in range(count)
    ]


def results_of(folder, series):
    """The files of results of a series, by SOP class."""
    found = {}
    for path in folder.glob("[!.]*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.StudyInstanceUID == series[0].StudyInstanceUID:
            found[dataset.SOPClassUID] = dataset
    return found


def test_the_segmentation_of_a_sent_study_is_that_of_wmh_infer(tmp_path, shared):
    node, _, bundle = shared
    (images,) = heads(tmp_path, 1)
    assert set(send(node.port, images)) == {0}
    found = wait_for(lambda: len(r := results_of(node.results, images)) == 3 and r)
    assert set(found) == KINDS
    write_series(images, tmp_path / "dicom")
    options = InferenceOptions(backend="onnxruntime", tta="none")
    out = tmp_path / "out"
    segment_folder(tmp_path / "dicom", out, load_bundle(bundle), options, FolderOptions())
    (mask,) = out.glob("*_mask.nii.gz")
    slices = np.asarray(nib.load(mask).dataobj)[:, ::-1].transpose(2, 1, 0)
    segmentation = found["1.2.840.10008.5.1.4.1.1.66.4"].pixel_array
    assert segmentation.sum() == slices.sum() == 8
    np.testing.assert_array_equal(
        segmentation.reshape(-1, *slices.shape[1:]), slices[slices.any(axis=(1, 2))]
    )


def test_results_are_sent_to_the_destination_in_the_study_of_the_images(tmp_path, shared):
    node, pacs, _ = shared
    (images,) = heads(tmp_path, 1)
    study = images[0].StudyInstanceUID

    def received():
        return [one for one in pacs.received if one.StudyInstanceUID == study]

    send(node.port, images)
    wait_for(lambda: len(received()) == 3)
    assert {one.SOPClassUID for one in received()} == KINDS
    wait_for(lambda: not list((node.queue / "outbox" / "pacs").iterdir()))
    assert node.count('wmh_node_results_sent_total{destination="pacs"}') == len(pacs.received)


def test_three_associations_at_once_with_parts_of_two_studies(tmp_path, shared):
    node, _, _ = shared
    first, second = heads(tmp_path, 2)
    mixed, before = [*first, *second], done(node)
    threads = [threading.Thread(target=send, args=(node.port, mixed[part::3])) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for images in (first, second):
        wait_for(lambda images=images: len(results_of(node.results, images)) == 3)
    wait_for(lambda: done(node) == before + 2)


def test_an_aborted_association_loses_no_image_that_was_confirmed(tmp_path, shared):
    node, _, _ = shared
    (images,), before = heads(tmp_path, 1), done(node)
    association = associate(node.port)
    for image in images[:3]:
        assert association.send_c_store(image).Status == 0
    association.abort()
    time.sleep(1)  # longer than the quiet time
    assert set(send(node.port, images[3:])) == {0}
    wait_for(lambda: len(results_of(node.results, images)) == 3)
    wait_for(lambda: done(node) == before + 1)


def test_a_study_whose_sender_does_not_come_back_is_segmented_in_the_end(tmp_path, shared):
    node, _, _ = shared
    (images,) = heads(tmp_path, 1)
    association = associate(node.port)
    for image in images:
        association.send_c_store(image)
    association.abort()
    wait_for(lambda: len(results_of(node.results, images)) == 3)


def test_a_study_that_was_done_is_not_done_again_when_it_is_sent_again(tmp_path, shared):
    node, _, _ = shared
    (images,), before = heads(tmp_path, 1), done(node)
    send(node.port, images)
    wait_for(lambda: done(node) == before + 1)
    send(node.port, images)
    time.sleep(2.5)
    assert done(node) == before + 1
    assert node.count("wmh_node_studies_waiting") == 0


def test_late_images_are_segmented_with_the_others(tmp_path, shared):
    node, _, _ = shared
    (images,), before = heads(tmp_path, 1), done(node)
    send(node.port, images[:-2])
    wait_for(lambda: done(node) == before + 1)
    send(node.port, images[-2:])
    wait_for(lambda: done(node) == before + 2)
    study = images[0].StudyInstanceUID
    found = [pydicom.dcmread(path) for path in node.results.glob("[!.]*.dcm")]
    counts = {
        len(one.ReferencedSeriesSequence[0].ReferencedInstanceSequence)
        for one in found
        if one.StudyInstanceUID == study and one.Modality == "SEG"
    }
    assert counts == {len(images) - 2, len(images)}


def test_objects_of_other_kinds_are_accepted_and_thrown_away(tmp_path, shared):
    node, _, _ = shared
    (images,), before = heads(tmp_path, 1), node.count("wmh_node_objects_ignored_total")
    send(node.port, images)
    results = list(wait_for(lambda: len(r := results_of(node.results, images)) == 3 and r).values())
    entity = AE(CALLER)
    for one in results:
        entity.add_requested_context(one.SOPClassUID)
    association = entity.associate("127.0.0.1", node.port, ae_title="WMH")
    assert [association.send_c_store(one).Status for one in results] == [0, 0, 0]
    association.release()
    assert node.count("wmh_node_objects_ignored_total") == before + 3


def test_a_study_without_flair_is_finished_without_results(shared):
    node, _, _ = shared
    images = toy_series(sequence=MPRAGE)
    send(node.port, images)
    wait_for(lambda: node.count('wmh_node_studies_total{outcome="no scan"}') == 1)
    assert results_of(node.results, images) == {}


@pytest.mark.parametrize(("caller", "called"), [("OTHER", "WMH"), (CALLER, "OTHER")])
def test_unknown_titles_are_rejected(shared, caller, called):
    node, _, _ = shared
    assert not echo(node.port, caller, called)
    assert echo(node.port, PACS)


def test_neither_log_nor_names_nor_metrics_identify_a_patient(tmp_path, shared):
    node, _, _ = shared
    (images,), before = heads(tmp_path, 1), done(node)
    send(node.port, images)
    send(node.port, toy_series(sequence=MPRAGE, who=person("MRN-9", name="Curie^Marie")))
    wait_for(lambda: done(node) > before and not node.count("wmh_node_studies_waiting"))
    said = node.log.read_text() + node.page("metrics") + node.page("healthz")
    names = " ".join(map(str, node.queue.rglob("*")))
    assert "study " in said
    assert not re.search(r"Curie|MRN|1\.2\.826|20240229", said + names)
    assert stat.S_IMODE(node.queue.stat().st_mode) == 0o700


def test_an_image_that_was_corrected_is_segmented_again(tmp_path, shared):
    node, pacs, _ = shared
    (images,), before = heads(tmp_path, 1), done(node)
    send(node.port, images)
    wait_for(lambda: done(node) == before + 1)
    for image in images:
        image.PatientID = "MRN-corrected"
    send(node.port, images)
    wait_for(lambda: done(node) == before + 2)
    study = images[0].StudyInstanceUID
    wait_for(lambda: sum(one.StudyInstanceUID == study for one in pacs.received) == 6)
    found = [one for one in pacs.received if one.StudyInstanceUID == study]
    assert {one.PatientID for one in found[3:]} == {"MRN-corrected"}
    assert len({one.SOPInstanceUID for one in found}) == 6


@pytest.mark.parametrize("name", ["StudyInstanceUID", "SOPInstanceUID"])
def test_an_image_without_uids_is_refused(tmp_path, name):
    ((image, *_),) = heads(tmp_path, 1)
    setattr(image, name, "")
    file = BytesIO()
    image.save_as(file, enforce_file_format=False)
    event = SimpleNamespace(
        assoc=object(),
        request=SimpleNamespace(AffectedSOPClassUID=image.SOPClassUID),
        encoded_dataset=lambda: bytes(128) + b"DICM" + file.getvalue(),
    )
    queue = Queue(tmp_path / "queue")
    listen = Listen(ae_title="WMH", allowed=("PACS",))
    receiver = Receiver(listen, queue, 0, Metrics(), lambda _: None)
    assert receiver._store(event) == 0xC000
    assert queue.studies() == []


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
        assert node.page("healthz") == "ok\n"
    assert (outbox / "rejected" / "junk.dcm").exists()


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


def test_a_record_of_a_later_version_is_read_and_a_damaged_one_set_aside(tmp_path):
    queue = Queue(tmp_path / "queue")
    study = queue.add_image("1.2", "1.2.3", b"an image")
    study.record_path.write_text('{"outcome": "done", "images": "x", "of_later": 1}')
    assert study.record.outcome == "done"
    study.record_path.write_text("{")
    assert study.record.outcome == ""
    assert study.record_path.with_suffix(".unreadable").exists()


def test_times_of_files_in_the_future_do_not_stop_a_study(tmp_path):
    queue = Queue(tmp_path / "queue")
    study = queue.add_image("1.2", "1.2.3", b"an image")
    study.mark_released()
    in_a_year = time.time() + 365 * 86400
    os.utime(study.images_folder, (in_a_year, in_a_year))
    schedule = Schedule(Study(quiet_s=0.2), queue)
    assert schedule.next_due() is None
    time.sleep(0.3)
    assert schedule.next_due() == study


def test_only_the_latest_version_of_an_image_is_kept(tmp_path):
    queue = Queue(tmp_path / "queue")
    study = queue.add_image("1.2", "1.2.3", b"an image")
    first = study.images_digest
    queue.add_image("1.2", "1.2.3", b"an image")
    assert study.images_digest == first
    queue.add_image("1.2", "1.2.3", b"its correction")
    assert study.images_digest != first
    (path,) = study.images_folder.iterdir()
    assert path.read_bytes() == b"its correction"


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
