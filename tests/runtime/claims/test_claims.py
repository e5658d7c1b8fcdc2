"""One alone has a claim, whatever others do, and one that is gone has none."""

import errno
import fcntl
import json
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.claim_checks import (
    ELSEWHERE,
    require_one_owner,
    require_taken_when_still,
    wait_for_claim,
)
from wmh_runtime.claims import claim_file
from wmh_runtime.claims import claims as claims_module
from wmh_runtime.claims.claim_file import parse_claim, read_claim, remove_stale_claim
from wmh_runtime.claims.claims import Claims
from wmh_runtime.errors import InputError
from wmh_runtime.files.process import this_process


@pytest.fixture
def of_another_machine(monkeypatch):
    """Claims of the block are those of a process that cannot be looked at."""

    def use(is_wanted=True):
        owner = ELSEWHERE if is_wanted else this_process()
        monkeypatch.setattr(claims_module, "this_process", lambda: owner)

    return use


def file_of(folder):
    (path,) = folder.glob("*.json")
    return path


def test_one_alone_has_a_claim_until_it_is_released(tmp_path):
    first, second = Claims(tmp_path / "claims"), Claims(tmp_path / "claims")
    claim = first.try_claim("sub-1")
    assert claim.is_held
    assert second.try_claim("sub-1") is None
    assert first.try_claim("sub-1") is None
    assert second.owner("sub-1") == this_process()
    assert second.try_claim("sub-2").is_held
    first.release(claim)
    assert not claim.is_held
    assert second.try_claim("sub-1").is_held


def test_at_the_end_all_claims_are_released(tmp_path):
    with Claims(tmp_path) as claims:
        claims.try_claim("a")
        claims.try_claim("b")
        assert [one.of for one in claims.all()] == ["a", "b"]
    assert list(tmp_path.iterdir()) == []


def test_of_many_threads_one_gets_the_claim(tmp_path):
    require_one_owner([Claims(tmp_path) for _ in range(8)], rounds=50)


def test_the_claim_of_a_process_of_this_machine_that_was_killed_is_taken_at_once(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from wmh_runtime.claims.claims import Claims\n"
        "Claims(Path(sys.argv[1])).try_claim('a'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    claim = Claims(tmp_path).try_claim("a")
    assert claim.is_held
    assert claim.previous_owner.number != this_process().number


def test_a_claim_of_another_machine_is_taken_only_after_it_stood_still(
    tmp_path, of_another_machine
):
    of_another_machine()
    first = Claims(tmp_path).try_claim("a")
    of_another_machine(False)
    require_taken_when_still(first, Claims(tmp_path, stale_s=0.3))


def test_a_run_shows_that_it_is_alive(tmp_path, of_another_machine):
    of_another_machine()
    with Claims(tmp_path, beat_s=0.05) as first:
        claim = first.try_claim("a")
        of_another_machine(False)
        waiting = Claims(tmp_path, stale_s=0.5)
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert waiting.try_claim("a") is None
            time.sleep(0.02)
        assert claim.is_held


def test_a_clock_that_is_set_does_no_harm(tmp_path, of_another_machine, monkeypatch):
    of_another_machine()
    claim = Claims(tmp_path).try_claim("a")
    waiting = Claims(tmp_path, stale_s=60)
    assert waiting.try_claim("a") is None
    monkeypatch.setattr(time, "time", lambda: 4e9)  # the year 2096
    import os

    os.utime(file_of(tmp_path), (0, 0))  # or the clock of the server
    assert waiting.try_claim("a") is None
    assert claim.is_held


def test_of_several_that_find_a_stale_claim_one_removes_it(tmp_path):
    Claims(tmp_path).try_claim("a")
    path = file_of(tmp_path)
    seen = read_claim(path)
    assert remove_stale_claim(path, seen)
    assert not remove_stale_claim(path, seen)
    assert list(tmp_path.iterdir()) == []


def test_a_claim_that_somebody_has_got_in_the_meantime_is_put_back(tmp_path):
    claims = Claims(tmp_path)
    claims.release(claims.try_claim("a"))
    claim = claims.try_claim("a")
    assert not remove_stale_claim(file_of(tmp_path), b"what it was before")
    assert claim.is_held
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"of": "a"}'])
def test_a_claim_that_was_only_half_written_is_taken_after_it_stood_still(tmp_path, content):
    Claims(tmp_path).try_claim("a")
    path = file_of(tmp_path)
    path.write_bytes(content)
    waiting = Claims(tmp_path, stale_s=0.1)
    assert waiting.try_claim("a") is None
    assert waiting.owner("a") is None
    assert wait_for_claim(waiting).is_held


def test_a_run_that_could_not_look_itself_takes_no_claim_by_a_single_look(
    tmp_path, of_another_machine
):
    """As after an outage of the server, when no run could write or read for minutes."""
    of_another_machine()
    claim = Claims(tmp_path).try_claim("a")
    of_another_machine(False)
    waiting = Claims(tmp_path, stale_s=0.2)
    assert waiting.try_claim("a") is None
    time.sleep(1)
    assert waiting.try_claim("a") is None
    assert claim.is_held
    assert wait_for_claim(waiting).is_held


def test_no_lock_of_the_file_system_is_needed(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(fcntl, "lockf", no_locks)
    with Claims(tmp_path) as claims:
        assert claims.try_claim("a").is_held


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "claims").write_text("a file")
    with pytest.raises(InputError, match=r"claims.*: (is a file|cannot be written)"):
        Claims(tmp_path / "claims").try_claim("a")


def test_a_full_disk_leaves_no_half_claim(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(claim_file, "_as_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        Claims(tmp_path).try_claim("a")
    assert list(tmp_path.iterdir()) == []


def test_waiting_for_a_claim_names_its_owner_once(tmp_path, monkeypatch):
    monkeypatch.setattr(claims_module, "_POLL_S", 0.02)
    first, second, owners = Claims(tmp_path), Claims(tmp_path), []
    claim = first.try_claim("tables")
    threading.Timer(0.2, first.release, [claim]).start()
    with second.wait_for("tables", owners.append) as taken:
        assert taken.is_held
    assert owners == [this_process()]
    assert list(tmp_path.iterdir()) == []


def test_the_file_keeps_its_size_and_says_what_is_claimed(tmp_path):
    claim = Claims(tmp_path).try_claim("site/sub-1_FLAIR.nii.gz")
    size = file_of(tmp_path).stat().st_size
    for _ in range(3):
        claim.beat()
    content = json.loads(file_of(tmp_path).read_text())
    assert (content["of"], content["beats"]) == ("site/sub-1_FLAIR.nii.gz", "000000000003")
    assert file_of(tmp_path).stat().st_size == size


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_name_can_be_claimed(tmp_path, name):
    with Claims(tmp_path / "claims") as claims:
        assert claims.try_claim(name).is_held
        assert claims.try_claim(name) is None
        assert len(claims.all()) == 1
        assert parse_claim(read_claim(file_of(tmp_path / "claims"))) == claims.all()[0]
