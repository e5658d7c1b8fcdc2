"""Tables are made once for runs that end together, and by another if the one at it is killed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from wmh_runtime.claims.claims import Claims
from wmh_runtime.cohort.sharing import collect as collect_module
from wmh_runtime.cohort.sharing.collect import collect
from wmh_runtime.errors import InputError


@pytest.fixture
def tables(monkeypatch):
    """Count how often tables are made; each time takes a moment."""
    made = []

    def make(out, failed, claim, *, reads_masks):
        made.append(sorted(path.name for path in out.glob("*.result")))
        time.sleep(0.3)
        return ["remark"]

    monkeypatch.setattr(collect_module, "_make_tables", make)
    monkeypatch.setattr(collect_module, "_POLL_S", 0.02)
    return made


def test_many_runs_that_end_together_are_served_by_few_tables(tmp_path, tables):
    def end(number):
        (tmp_path / f"{number}.result").touch()
        return collect(tmp_path, Claims(tmp_path / "claims"), list)

    with ThreadPoolExecutor(12) as pool:
        said = list(pool.map(end, range(12)))
    assert 1 <= len(tables) <= 4
    assert len(tables[-1]) == 12  # the last ones have all results
    assert said.count(["remark"]) == len(tables)  # who did not make them does not say it again


def test_what_comes_after_the_tables_were_begun_gets_tables_of_its_own(tmp_path, tables):
    first = threading.Thread(target=collect, args=(tmp_path, Claims(tmp_path / "claims"), list))
    first.start()
    while not tables:
        time.sleep(0.01)
    (tmp_path / "late.result").touch()
    collect(tmp_path, Claims(tmp_path / "claims"), list)
    first.join()
    assert tables == [[], ["late.result"]]


def test_tables_that_cannot_be_made_are_made_by_the_next(tmp_path, tables, monkeypatch):
    def fail(*_, **__):
        raise InputError("cannot be written", about="volumes.csv")

    monkeypatch.setattr(collect_module, "_make_tables", fail)
    with pytest.raises(InputError):
        collect(tmp_path, Claims(tmp_path / "claims"), list)
    assert list((tmp_path / ".wmh" / "collect").iterdir()) == []
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_run_that_stood_still_too_long_leaves_the_tables_to_another(tmp_path, monkeypatch):
    looks = [False, True, True]
    monkeypatch.setattr("wmh_runtime.claims.claims.Claim.is_held", property(lambda _: looks.pop(0)))
    assert collect(tmp_path, Claims(tmp_path / "claims"), list) == []
    assert looks == []  # it tried again
    assert (tmp_path / "volumes.csv").exists() or (tmp_path / "report.html").exists()
