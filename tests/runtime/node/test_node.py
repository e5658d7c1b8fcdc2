"""`wmh-node`: what it receives comes out as results."""

import re
import stat
import threading
import time

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pynetdicom import AE

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
from tests.runtime.node.studies import KINDS, done, heads, results_of
from tests.toys import write_toy_bundle
from wmh_runtime import FolderOptions, InferenceOptions, load_bundle, segment_folder
from wmh_runtime.phantom.dicom_series import MPRAGE, write_series


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A node and its PACS for all tests that leave them as they are."""
    folder = tmp_path_factory.mktemp("shared")
    bundle = write_toy_bundle(folder / "bundle")
    pacs = FakePacs(free_port())
    with pacs.listening(), Node(folder / "node", bundle, {"pacs": pacs.port}) as node:
        yield node, pacs, bundle


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
