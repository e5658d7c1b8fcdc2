"""Claims in object storage: one alone has a claim there, too."""

import uuid

import pytest

from tests.claim_checks import ELSEWHERE, require_one_owner, require_taken_when_still
from tests.object_storage import BUCKET, object_storage
from wmh_runtime.claims import claims as claims_module
from wmh_runtime.claims.claim_objects import ClaimObjects
from wmh_runtime.claims.claims import Claims
from wmh_runtime.files.process import this_process
from wmh_runtime.storage.object_folder import ObjectFolder


@pytest.fixture(scope="module")
def server():
    with object_storage() as system:
        yield system


@pytest.fixture
def store(server):
    return ClaimObjects(ObjectFolder(f"s3://{BUCKET}/{uuid.uuid4()}"), "claims")


@pytest.fixture
def objects_in(server):
    return lambda store: list(store._objects.versions())


def test_one_alone_has_a_claim_until_it_is_released(store, objects_in):
    first, second = Claims(store), Claims(store)
    claim = first.try_claim("sub-1")
    assert claim.is_held
    assert second.try_claim("sub-1") is None
    assert second.owner("sub-1") == this_process()
    assert [one.of for one in second.all()] == ["sub-1"]
    claim.beat()
    assert len(objects_in(store)) == 2
    first.release(claim)
    assert not claim.is_held
    assert objects_in(store) == []
    assert second.try_claim("sub-1").is_held


def test_of_many_threads_one_gets_the_claim(store):
    require_one_owner([Claims(store) for _ in range(6)], rounds=10)


def test_a_claim_is_taken_only_after_it_stood_still(store, monkeypatch, objects_in):
    monkeypatch.setattr(claims_module, "this_process", lambda: ELSEWHERE)
    first = Claims(store).try_claim("a")
    monkeypatch.undo()
    taken = require_taken_when_still(first, Claims(store, stale_s=0.3), longest_s=20)
    taken.release()
    assert objects_in(store) == []


def test_a_new_claim_is_not_taken_for_the_stale_one(store):
    name = "a.json"
    claims = Claims(store)
    claims.release(claims.try_claim("a"))
    stored = claims_module._stored_name("a")
    claims.try_claim("a")
    seen = store.read(stored)
    store.remove_stale(stored, seen)
    later = Claims(store).try_claim("a")
    assert not store.remove_stale(stored, seen)
    assert later.is_held
    assert store.read(name) is None
