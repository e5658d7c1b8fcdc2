"""Scans and results in object storage: the results of a single run on a disk, whatever happens."""

import json
import os
import random
import shutil
import time

import pytest

from benchmarks.dev.clusters.same_results import content_of
from tests.object_storage import BUCKET, download, object_storage, upload
from tests.shared_work import finish, options_of, start_infer
from tests.toys import write_head, write_toy_bundle
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli.infer.main import main
from wmh_runtime.cohort.case import processor as case_processor
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.cohort.segment_folder import segment_folder
from wmh_runtime.dataset.bids import SIDECAR_SUFFIX
from wmh_runtime.dataset.visit_filter import VisitFilter
from wmh_runtime.errors import InputError
from wmh_runtime.files.process import this_process
from wmh_runtime.inference.options import InferenceOptions
from wmh_runtime.outputs import failures
from wmh_runtime.outputs.failures import SEGMENTATION, FailureRecords
from wmh_runtime.outputs.paths import Extras
from wmh_runtime.storage.object_folder import ObjectFolder

SCANS = 6
ON_CPU = InferenceOptions(backend="onnxruntime")


@pytest.fixture(scope="module")
def storage():
    with object_storage() as system:
        yield system


@pytest.fixture(scope="module")
def work(tmp_path_factory, storage):
    """Scans on a disk and in the storage, a bundle, and the results of a run on the disk."""
    folder = tmp_path_factory.mktemp("work")
    for number in range(SCANS):
        site = folder / "scans" / f"site-{number % 3}"
        write_head(site / f"{number:02}.nii.gz", lesions=number % 4, seed=number)
    write_toy_bundle(folder / "bundle")
    upload(storage, folder / "scans", "scans")
    said = finish(start_infer(folder / "scans", folder / "alone", *options_of(folder)))
    assert said[0] == 0, said
    return folder


@pytest.fixture
def out(request):
    return f"s3://{BUCKET}/{request.node.name}"


SOURCE = f"s3://{BUCKET}/scans"


def results(storage, out, to):
    """Return what runs have in common: all but versions of objects."""
    shutil.rmtree(to, ignore_errors=True)
    content = content_of(download(storage, out.removeprefix(f"s3://{BUCKET}/"), to))
    for path, one in content.items():
        if path.endswith(SIDECAR_SUFFIX):
            for channel in one["channels"].values():
                assert bool(channel.pop("version")) == out.startswith("s3")
    return content


def results_on_disk(work):
    content = content_of(work / "alone")
    for path, one in content.items():
        if path.endswith(SIDECAR_SUFFIX):
            for channel in one["channels"].values():
                del channel["version"]
    return content


REVIEWS = "scan\tdecision\treviewer\nsub-1_FLAIR.nii.gz\texclude\t{}\n"


def segment(work, source, out, *, progress=None, **wanted):
    bundle = load_bundle(str(work / "bundle"))
    return segment_folder(source, out, bundle, ON_CPU, FolderOptions(**wanted), progress)


def count_requests(monkeypatch):
    """Return lists that get the objects that are read and written from now on."""
    read, written = [], []
    download_, upload_ = ObjectFolder.download, ObjectFolder.upload

    def note_download(self, files):
        read.extend(f"{self.address.rpartition('/')[2]}/{path}" for path in files)
        return download_(self, files)

    def note_upload(self, file, path):
        written.append(path)
        upload_(self, file, path)

    monkeypatch.setattr(ObjectFolder, "download", note_download)
    monkeypatch.setattr(ObjectFolder, "upload", note_upload)
    return read, written


def test_the_results_are_those_of_a_disk(work, storage, out, tmp_path):
    status, said, errors = finish(start_infer(SOURCE, out, *options_of(work)))
    assert status == 0, errors
    assert f"{SCANS} scans finished. Volumes: {out}/volumes.csv" in said
    assert results(storage, out, tmp_path / "got") == results_on_disk(work)
    status, said, _ = finish(start_infer("status", out))
    assert said.strip() == f"{SCANS} of {SCANS} scans finished"


def test_runs_share_the_scans_and_may_be_killed(work, storage, out, tmp_path):
    moments = random.Random(3)
    runs = [start_infer(SOURCE, out, *options_of(work)) for _ in range(2)]
    for _ in range(4):
        time.sleep(moments.uniform(0.8, 2.5))
        victim = moments.randrange(2)
        runs[victim].kill()
        runs[victim].communicate()
        runs[victim] = start_infer(SOURCE, out, *options_of(work))
    for run in runs:
        status, said, errors = finish(run)
        assert status == 0, errors
        assert f"{SCANS} scans finished" in said
    assert results(storage, out, tmp_path / "got") == results_on_disk(work)
    name = out.removeprefix("s3://")
    assert storage.find(f"{name}/.wmh/claims") == []


@pytest.mark.exhaustive
def test_finished_scans_are_not_read_again(work, out, monkeypatch):
    assert len(segment(work, SOURCE, out).done) == SCANS
    read, written = count_requests(monkeypatch)
    assert len(segment(work, SOURCE, out).kept) == SCANS
    assert [path for path in read if path.startswith("scans/")] == []
    assert [path for path in written if "site-" in path] == []
    # More is wanted than there is: then they are.
    asked = Extras(probability=True)
    assert len(segment(work, SOURCE, out, extras=asked).done) == SCANS
    assert len([path for path in read if path.startswith("scans/")]) == SCANS
    assert len([path for path in written if path.endswith("_probseg.nii.gz")]) == SCANS


@pytest.mark.exhaustive
def test_each_shard_writes_its_part_and_the_tables_are_of_all(work, storage, out, tmp_path):
    for part in ("1/2", "2/2"):
        said = finish(start_infer(SOURCE, out, "--shard", part, *options_of(work)))
        assert said[0] == 0, said
    assert results(storage, out, tmp_path / "got") == results_on_disk(work)


def test_scans_in_the_storage_and_results_on_a_disk(work, tmp_path):
    outcome = segment(work, SOURCE, tmp_path / "out")
    assert len(outcome.done) == SCANS
    for path, one in content_of(tmp_path / "out").items():
        if not path.endswith(SIDECAR_SUFFIX):
            assert one == content_of(work / "alone")[path], path
    assert len(segment(work, SOURCE, tmp_path / "out").kept) == SCANS


def test_scans_on_a_disk_and_results_in_the_storage(work, storage, out, tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert len(segment(work, work / "scans", out).done) == SCANS
    assert len(segment(work, work / "scans", out).kept) == SCANS
    got = content_of(download(storage, out.removeprefix(f"s3://{BUCKET}/"), tmp_path / "got"))
    assert got == content_of(work / "alone")
    assert list((tmp_path / "temporary").iterdir()) == []  # no copy is left


@pytest.fixture
def own(storage, request, tmp_path):
    """A few scans of a test's own: one fails, one has a corrected mask."""
    for number in range(3):
        write_head(tmp_path / "own" / f"sub-{number}_FLAIR.nii.gz", lesions=number, seed=number)
    (tmp_path / "own" / "sub-9_FLAIR.nii.gz").write_bytes(b"no image")
    return upload(storage, tmp_path / "own", f"own-{request.node.name}")


def test_failures_name_the_object_and_are_known_to_other_runs(work, storage, own, out):
    outcome = segment(work, own, out)
    ((_, error),) = outcome.failed
    assert str(error).startswith(f"{own}/sub-9_FLAIR.nii.gz: is not a NIfTI image")
    name = out.removeprefix("s3://")
    assert f"{own}/sub-9" in storage.cat_file(f"{name}/failures.csv").decode()
    # Another run, which looks at other scans only, keeps it in its table.
    assert len(segment(work, own, out, visits=VisitFilter(("1",), ())).kept) == 1
    assert f"{own}/sub-9" in storage.cat_file(f"{name}/failures.csv").decode()
    storage.rm_file(f"{own.removeprefix('s3://')}/sub-9_FLAIR.nii.gz")
    segment(work, own, out)
    assert not storage.exists(f"{name}/failures.csv")


def test_results_may_be_stored_among_the_scans(work, own):
    assert len(segment(work, own, f"{own}/results").done) == 3
    assert len(segment(work, own, f"{own}/results").kept) == 3


def test_a_failure_of_another_machine_goes_when_the_scan_is_segmented(
    work, storage, own, out, tmp_path, monkeypatch
):
    monkeypatch.setattr(failures, "this_process", lambda: this_process()._replace(space="far"))
    records = FailureRecords(tmp_path, own)
    records.add(SEGMENTATION, "sub-1_FLAIR.nii.gz", InputError("does not fit into memory"))
    record = records.path_of(SEGMENTATION, "sub-1_FLAIR.nii.gz")
    monkeypatch.undo()
    name = out.removeprefix("s3://")

    class Meanwhile(Progress):
        def begun(self, where):
            """This run has listed the folder of results before."""
            storage.put_file(str(record), f"{name}/{record.relative_to(tmp_path).as_posix()}")

    assert len(segment(work, own, out, progress=Meanwhile()).done) == 3
    assert "sub-1" not in storage.cat_file(f"{name}/failures.csv").decode()
    assert "sub-1" in storage.cat_file(f"{name}/volumes.csv").decode()


def test_marks_of_readers_that_come_during_a_run_are_kept(work, storage, own, out):
    name = out.removeprefix("s3://")
    segment(work, own, out)
    storage.pipe_file(f"{name}/reviews.tsv", REVIEWS.format("Anna").encode())

    class Later(Progress):
        def done(self, case, sidecars, *, kept):
            storage.pipe_file(f"{name}/reviews.tsv", REVIEWS.format("Berta").encode())

    segment(work, own, out, progress=Later())
    assert storage.cat_file(f"{name}/reviews.tsv").decode() == REVIEWS.format("Berta")
    assert "Berta" in storage.cat_file(f"{name}/volumes.csv").decode()


def test_pages_of_finished_scans_are_made_from_their_images(work, storage, own, out):
    segment(work, own, out)
    assert len(segment(work, own, out, extras=Extras(viewer=True)).kept) == 3
    pages = [one for one in storage.find(out.removeprefix("s3://")) if "viewer" in one]
    assert len(pages) == 3
    assert min(storage.size(page) for page in pages) > 20_000


def test_no_path_of_a_copy_is_shown_or_stored(work, storage, own, out, monkeypatch, tmp_path):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(case_processor, "preprocess", lambda *_: 1 / 0)
    outcome = segment(work, own, out)
    errors = [str(error) for _, error in outcome.failed]
    assert sum(f"Report it with the end of {out}/errors.log" in error for error in errors) == 3
    for one in storage.find(out.removeprefix("s3://")):
        if not one.endswith("errors.log"):
            assert b"temporary" not in storage.cat_file(one), one


def test_copies_of_runs_that_were_killed_are_removed_by_the_next(work, own, out, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = start_infer(own, out, *options_of(work), environment=environment)
    while killed.poll() is None and not list(tmp_path.glob(".wmh-partial-*/*")):
        time.sleep(0.005)
    killed.kill()
    killed.communicate()
    assert list(tmp_path.glob(".wmh-partial-*"))
    assert finish(start_infer(own, out, *options_of(work), environment=environment))[0] == 1
    assert not list(tmp_path.glob(".wmh-partial-*"))


def test_a_scan_that_was_replaced_is_noticed(work, storage, own, out, tmp_path):
    segment(work, own, out)
    write_head(tmp_path / "new.nii.gz", lesions=3, seed=7)
    storage.put_file(
        str(tmp_path / "new.nii.gz"), f"{own.removeprefix('s3://')}/sub-0_FLAIR.nii.gz"
    )
    failed = {case.path.name: error for case, error in segment(work, own, out).failed}
    assert "has a result of another input" in str(failed["sub-0_FLAIR.nii.gz"])
    assert len(segment(work, own, out, overwrite=True).done) == 3


def test_corrected_masks_in_the_storage_are_used(work, storage, own, out, tmp_path):
    segment(work, own, out)
    name = "sub-2_label-WMH_mask.nii.gz"
    results_of_run, manual = out.removeprefix("s3://"), f"{own.removeprefix('s3://')}/derivatives"
    storage.copy(f"{results_of_run}/{name}", f"{manual}/manual/{name}")
    assert [case.path.name for case in segment(work, own, out).done] == ["sub-2_FLAIR.nii.gz"]
    sidecar = json.loads(storage.cat_file(f"{results_of_run}/{name.replace('.nii.gz', '.json')}"))
    assert sidecar["manual"]["file"] == f"derivatives/manual/{name}"
    assert len(segment(work, own, out).kept) == 3


def test_results_of_a_bids_data_set_link_to_its_address(work, storage, own, out):
    source, name = own.removeprefix("s3://"), out.removeprefix("s3://")
    description = {"Name": "Study", "BIDSVersion": "1.10.0"}
    storage.pipe_file(f"{source}/dataset_description.json", json.dumps(description).encode())
    storage.pipe_file(f"{source}/.bidsignore", b"sub-9*\n")
    segment(work, own, out)  # sub-9 is not of the data set
    written = json.loads(storage.cat_file(f"{name}/dataset_description.json"))
    assert written["Name"] == "White matter hyperintensities of Study"
    assert written["DatasetLinks"] == {"raw": own}
    assert storage.exists(f"{name}/README.md")


def test_a_result_that_cannot_be_stored_fails_its_scan_only(work, own, out, monkeypatch):
    def refuse(self, file, path):
        if path.endswith("sub-1_label-WMH_qc.png"):
            raise InputError("cannot be written (no space)", "Free some.", about=path)
        return upload_(self, file, path)

    upload_ = ObjectFolder.upload
    monkeypatch.setattr(ObjectFolder, "upload", refuse)
    outcome = segment(work, own, out)
    assert sorted(case.path.name[:5] for case, _ in outcome.failed) == ["sub-1", "sub-9"]
    monkeypatch.undo()
    outcome = segment(work, own, out)
    assert [case.path.name[:5] for case in outcome.done] == ["sub-1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([f"s3://{BUCKET}/nothing", "out"], "has no NIfTI or MGH image"),
        (["s3://no-such-bucket/scans", "out"], "no such object or bucket"),
        ([SOURCE, "s3://no-such-bucket/out"], "no such object or bucket"),
        ([SOURCE, "out", "--longitudinal", "sessions"], "needs scans and results on a disk"),
        ([SOURCE, "out", "--ray", "auto"], "workers of Ray need folders"),
        ([SOURCE, f"{SOURCE}/"], "would mix the results with the scans"),
        ([f"{SOURCE}/site-0", SOURCE], "would mix the results with the scans"),
        (["collect", "s3://no-such-bucket/out"], "no such object or bucket"),
    ],
)
def test_what_is_not_possible_is_one_line(work, arguments, said, tmp_path, run_command):
    paths = [tmp_path / "out" if one == "out" else one for one in arguments]
    options = [] if "collect" in arguments else options_of(work)
    status, _, errors = run_command(main, *paths, *options)
    errors = " ".join(errors.split())  # as wide as a terminal
    assert status == 2
    assert said in errors
    assert errors.count("error: ") == 1


def test_what_would_be_done_is_shown_with_addresses(work, out, run_command):
    status, said, _ = run_command(main, SOURCE, out, "--dry-run", *options_of(work))
    assert status == 0
    said = said.replace("\n", "")
    assert f"site-0/00.nii.gz -> {out}/site-0/00_label-WMH_mask.nii.gz" in said
