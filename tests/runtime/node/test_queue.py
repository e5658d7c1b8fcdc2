"""The queue of a node, and what is due in it."""

import os
import time
from io import BytesIO
from types import SimpleNamespace

import pytest

from tests.runtime.node.studies import heads
from wmh_runtime.node.config import Listen, Study
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.receiver import Receiver
from wmh_runtime.node.schedule import Schedule
from wmh_runtime.node.study import StudyRecord


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


def test_a_record_of_a_later_version_is_read_and_a_damaged_one_set_aside(tmp_path):
    queue = Queue(tmp_path / "queue")
    study = queue.add_image("1.2", "1.2.3", b"an image")
    study.record_path.write_text('{"outcome": "done", "images": "x", "of_later": 1}')
    assert study.record.outcome == "done"
    study.record_path.write_text("{")
    assert study.record.outcome == ""
    assert study.record_path.with_suffix(".unreadable").exists()


def test_a_study_whose_record_is_removed_is_due_again(tmp_path):
    queue = Queue(tmp_path / "queue")
    study = queue.add_image("1.2", "1.2.3", b"an image")
    study.mark_released()
    study.write(StudyRecord(outcome="done", images=study.images_digest))
    schedule = Schedule(Study(quiet_s=0), queue)
    assert schedule.next_due() is None
    time.sleep(2.1)  # from now on, it is known to be done
    assert schedule.next_due() is None
    study.record_path.unlink()
    assert schedule.next_due() == study


def test_removed_images_stay_in_the_record(tmp_path):
    queue = Queue(tmp_path / "queue")
    for uid in ("1.2.3", "1.2.4"):
        study = queue.add_image("1.2", uid, b"an image")
        study.write(study.record.model_copy(update={"images": study.images_digest}))
        queue.remove_images(study, study.record)
        assert not study.folder.exists()
    assert len(study.record.removed) == 2


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
