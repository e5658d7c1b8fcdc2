"""A folder that stands for one in object storage: names at first, copies when they are needed."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from wmh_runtime.errors import InputError
from wmh_runtime.storage import object_folder
from wmh_runtime.storage.mirror import Mirror
from wmh_runtime.storage.object_folder import ObjectFolder


@pytest.fixture
def objects():
    folder = ObjectFolder(f"memory://{uuid.uuid4()}")
    for path in ("a/one.txt", "a/one_more.txt", "b/two.txt"):
        folder.write(path, path.encode())
    return folder


@pytest.fixture
def mirror(objects, tmp_path):
    return Mirror(objects, tmp_path / "copies")


def need_names(_):
    return "name"


def need_of_a(path):
    return "content" if path.startswith("a/") else "nothing"


def files(mirror):
    return {
        path.relative_to(mirror.folder).as_posix(): path.read_text()
        for path in mirror.folder.rglob("*")
        if path.is_file()
    }


def test_names_are_empty_files_until_they_are_fetched(mirror):
    mirror.refresh(need_names)
    assert files(mirror) == {"a/one.txt": "", "a/one_more.txt": "", "b/two.txt": ""}
    two = mirror.folder / "b" / "two.txt"
    mirror.fetch([two, mirror.folder / "b" / "no_such_object"], "me")
    assert two.read_text() == "b/two.txt"
    mirror.release([two], "me")
    assert two.read_text() == ""
    mirror.fetch([two], "me")
    assert two.read_text() == "b/two.txt"


def test_a_copy_is_kept_as_long_as_somebody_uses_it(mirror):
    mirror.refresh(need_names)
    two = mirror.folder / "b" / "two.txt"
    mirror.fetch([two], "first")
    mirror.fetch([two], "second")
    mirror.fetch([two], "second")  # again, for one and the same user
    mirror.release([two], "second")
    assert two.read_text() == "b/two.txt"
    mirror.release([two], "first")
    assert two.read_text() == ""


def test_several_threads_get_whole_copies(mirror, monkeypatch):
    """They share an image, as two FLAIR scans with one T1 do."""

    def slowly(self, files):
        for path, file in files.items():
            time.sleep(0.05)
            file.write_text(path)
        return set()

    monkeypatch.setattr(ObjectFolder, "download", slowly)
    mirror.refresh(need_names)
    two = mirror.folder / "b" / "two.txt"

    def use(user):
        mirror.fetch([two], user)
        seen = two.read_text()
        time.sleep(0.01)
        mirror.release([two], user)
        return seen

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(use, "abcdefgh")) == {"b/two.txt"}


def test_only_what_is_needed_and_has_changed_is_copied(mirror, monkeypatch):
    copied = []
    download = ObjectFolder.download
    monkeypatch.setattr(
        ObjectFolder, "download", lambda self, one: (copied.extend(one), download(self, one))[1]
    )
    mirror.refresh(need_of_a)
    assert sorted(copied) == ["a/one.txt", "a/one_more.txt"]
    assert set(files(mirror)) == set(copied)
    mirror.objects.write("a/one.txt", b"changed")
    copied.clear()
    mirror.refresh(need_of_a)
    assert copied == ["a/one.txt"]
    assert files(mirror)["a/one.txt"] == "changed"


def test_objects_that_are_gone_have_no_file(mirror):
    mirror.refresh(need_names)
    mirror.objects.remove("a/one.txt")
    mirror.refresh(need_names)
    assert set(files(mirror)) == {"a/one_more.txt", "b/two.txt"}


def test_objects_become_as_the_files_are(mirror):
    mirror.refresh(need_names)
    one, new, two = (mirror.folder / name for name in ("a/one.txt", "a/new.txt", "b/two.txt"))
    one.write_text("made here")
    new.write_text("new")
    two.unlink()
    more = mirror.folder / "a" / "one_more.txt"  # stands for its object, which is kept
    mirror.store([one, more, new, two, mirror.folder / "never_there"])
    assert mirror.objects.read("a/one.txt") == b"made here"
    assert mirror.objects.read("a/one_more.txt") == b"a/one_more.txt"
    assert mirror.objects.read("a/new.txt") == b"new"
    assert mirror.objects.read("b/two.txt") is None
    mirror.refresh(need_of_a)  # what was made here is not copied back
    assert files(mirror)["a/one.txt"] == "made here"


def test_what_others_store_meanwhile_is_seen(mirror):
    mirror.refresh(need_names)
    asked = [mirror.folder / "a" / name for name in ("one.txt", "one_late.txt", "one_never.txt")]
    mirror.objects.write("a/one_late.txt", b"late")
    mirror.objects.write("b/late.txt", b"of another case")
    mirror.recall(asked, lambda path: "content" if path.endswith("late.txt") else "name")
    assert files(mirror)["a/one_late.txt"] == "late"
    assert "a/one_never.txt" not in files(mirror)
    assert "b/late.txt" not in files(mirror)
    mirror.objects.remove("a/one.txt")
    mirror.recall(asked, need_names)
    assert "a/one.txt" not in files(mirror)


def test_only_what_was_changed_here_is_stored(mirror):
    mirror.refresh(need_of_a)
    one, more = (mirror.folder / "a" / name for name in ("one.txt", "one_more.txt"))
    mirror.objects.write("a/one.txt", b"by a reader")
    more.write_text("by this run")
    mirror.store([one, more], only_changed=True)
    assert mirror.objects.read("a/one.txt") == b"by a reader"
    assert mirror.objects.read("a/one_more.txt") == b"by this run"
    mirror.reread([one, mirror.folder / "a" / "never"])
    assert one.read_text() == "by a reader"


def test_what_another_run_stored_over_ours_is_copied(mirror):
    mirror.refresh(need_of_a)
    one = mirror.folder / "a" / "one.txt"
    one.write_text("ours")
    mirror.store([one])
    mirror.objects.write("a/one.txt", b"theirs")
    mirror.refresh(need_of_a)
    assert one.read_text() == "theirs"


def test_an_object_that_is_gone_before_it_is_copied_has_no_file(mirror, monkeypatch):
    versions = ObjectFolder.versions

    def list_and_lose(self, *arguments):
        found = versions(self, *arguments)
        self.remove("a/one.txt")
        return found

    monkeypatch.setattr(ObjectFolder, "versions", list_and_lose)
    mirror.refresh(need_of_a)
    assert set(files(mirror)) == {"a/one_more.txt"}


def test_an_object_is_created_once(objects):
    assert objects.create("claim", b"first")
    assert not objects.create("claim", b"second")
    assert objects.read("claim") == b"first"


def test_names_that_no_file_can_have_are_left_out(objects):
    system = objects._system
    for name in ("../escaped.txt", "c//double.txt", "d\\back.txt", f"e/{'x' * 256}", "a/one.txt/f"):
        system.store[f"{objects._root}/{name}"] = system.store[f"{objects._root}/b/two.txt"]
    assert set(objects.versions()) == {"a/one_more.txt", "b/two.txt", "a/one.txt/f"}
    assert len(objects.odd_names) == 5


def test_a_storage_that_creates_objects_twice_is_refused(objects, monkeypatch):
    objects.require_creation("test")
    assert objects.read("test") is None
    pipe_file = objects._system.pipe_file
    monkeypatch.setattr(
        objects._system, "pipe_file", lambda name, content, mode="": pipe_file(name, content)
    )
    with pytest.raises(InputError, match="ignores If-None-Match"):
        objects.require_creation("test")


def test_a_refusal_to_create_is_understood_whatever_the_server_says(objects, monkeypatch):
    def refuse(name, content, mode):
        raise OSError(22, "At least one of the pre-conditions you specified did not hold")

    objects.write("claim", b"first")
    monkeypatch.setattr(objects._system, "pipe_file", refuse)
    assert not objects.create("claim", b"second")
    assert objects.create("claim", b"first")  # its answer was lost, and it was asked again


def test_a_request_that_fails_is_tried_again(objects, monkeypatch):
    pauses, answers = [], [TimeoutError("slow"), ConnectionError("reset")]
    read = objects._system.cat_file

    def cat_file(name):
        if answers:
            raise answers.pop()
        return read(name)

    monkeypatch.setattr(objects._system, "cat_file", cat_file)
    monkeypatch.setattr(object_folder.time, "sleep", pauses.append)
    assert objects.read("a/one.txt") == b"a/one.txt"
    assert pauses == [1.0, 5.0]


def test_a_request_that_keeps_failing_is_one_line(objects, monkeypatch):
    pauses = []
    monkeypatch.setattr(object_folder.time, "sleep", pauses.append)

    def cat_file(_):
        raise ConnectionError("refused")

    monkeypatch.setattr(objects._system, "cat_file", cat_file)
    with pytest.raises(InputError, match=r"a/one.txt: cannot be read \(refused\)"):
        objects.read("a/one.txt")
    assert pauses == [1.0, 5.0, 15.0, 60.0, 120.0]
    fresh = ObjectFolder(objects.address)  # it has not answered yet: its address may be wrong
    monkeypatch.setattr(fresh._system, "cat_file", cat_file)
    with pytest.raises(InputError):
        fresh.read("a/one.txt")
    assert len(pauses) == 5


def test_what_cannot_succeed_is_not_tried_again(objects, monkeypatch):
    monkeypatch.setattr(object_folder.time, "sleep", lambda _: 1 / 0)
    monkeypatch.setattr(objects._system, "cat_file", lambda _: 1 / 0)
    with pytest.raises(InputError, match=r"a/one.txt: cannot be read \(division by zero\)"):
        objects.read("a/one.txt")


@pytest.mark.parametrize("address", ["sftp://study/scans", "gs://study", "file:///tmp"])
def test_other_kinds_of_storage_are_refused(address):
    with pytest.raises(InputError, match="of another kind, expected s3://bucket/folder"):
        ObjectFolder(address)
