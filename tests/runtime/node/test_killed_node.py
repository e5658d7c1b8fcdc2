"""A node that is killed at random moments loses no study, and does none twice."""

import contextlib
import random
import threading
import time

import pytest

from tests.runtime.dicom.head_series import head_images
from tests.runtime.dicom.series_toys import person
from tests.runtime.node.node_process import (
    FakePacs,
    Node,
    associate,
    free_port,
    wait_for,
)


def send_until_confirmed(port, images, is_over) -> None:
    """Send images as a scanner does: again, until each is confirmed."""
    waiting = list(images)
    while waiting and not is_over.is_set():
        with contextlib.suppress(RuntimeError, ValueError, OSError):
            association = associate(port)
            while waiting and association.is_established:
                if association.send_c_store(waiting[0]).get("Status") != 0:
                    break
                waiting.pop(0)
            if association.is_established:
                association.release()
        time.sleep(0.05)


def kill_at_random(tmp_path, bundle, trials, seed) -> None:
    draw = random.Random(seed)
    pacs = FakePacs(free_port())
    more = {"study": ["quiet_s = 0.5"]}
    node = Node(tmp_path / "node", bundle, {"pacs": pacs.port}, more)
    all_images, threads, is_over = [], [], threading.Event()
    with pacs.listening():
        for trial in range(trials):
            node.start()
            images = head_images(tmp_path / str(trial), who=person(f"P{trial}"), seed=trial)
            all_images.append(images)
            thread = threading.Thread(
                target=send_until_confirmed, args=(node.port, images, is_over)
            )
            thread.start()
            threads.append(thread)
            time.sleep(draw.uniform(0, 2.5))
            node.kill()
        node.start()
        try:
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
            wait_for(lambda: len({one.SOPInstanceUID for one in pacs.received}) == 3 * trials)
            time.sleep(2)
        finally:
            is_over.set()
            node.kill()
    studies = [images[0].StudyInstanceUID for images in all_images]
    for study in studies:
        of_study = [one for one in pacs.received if one.StudyInstanceUID == study]
        assert len({one.SOPInstanceUID for one in of_study}) == 3  # none was made twice
        assert len({one.SOPClassUID for one in of_study}) == 3
    # A kill between the answer of the PACS and the removal of the file sends one file again.
    assert len(pacs.received) <= 3 * trials + trials


def test_no_study_is_lost_in_two_trials(tmp_path, toy_bundle):
    kill_at_random(tmp_path, toy_bundle, trials=2, seed=1)


@pytest.mark.exhaustive
def test_no_study_is_lost_in_thirty_trials(tmp_path, toy_bundle):
    kill_at_random(tmp_path, toy_bundle, trials=30, seed=2)
