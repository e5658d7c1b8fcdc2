"""A Ray cluster of three nodes on this machine: whatever is killed, nothing is lost."""

import os
import time

import pytest

from tests.processes import wait_until
from tests.shared_work import SCANS, finish, make_work, options_of, require_same, start
from wmh_runtime.bundle.bundle import load_bundle
from wmh_runtime.cli.infer.main import main
from wmh_runtime.cohort.job import Progress
from wmh_runtime.cohort.plan import FolderOptions
from wmh_runtime.errors import BackendError, InputError
from wmh_runtime.inference.options import InferenceOptions

ray = pytest.importorskip("ray")

CORES = 2  # of a node
OPTIONS = InferenceOptions(backend="onnxruntime", threads=1)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return make_work(tmp_path_factory.mktemp("work"))


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # as it will be in later versions
    head = {"num_cpus": CORES, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, connect=False, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=CORES)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def on_ray(cluster, work, tmp_path):
    def begin():
        options = ("--ray", cluster.address, "--threads", "1")
        return start(work, tmp_path / "out", *options)

    return begin


def finished_in(out):
    return len(list(out.rglob("*_mask.json")))


def test_three_nodes_end_in_the_bytes_of_a_single_run(on_ray, work, tmp_path):
    status, said, errors = finish(on_ray())
    assert (status, f"{SCANS} scans finished" in said) == (1, True), errors
    assert errors.count("broken.nii.gz: is not a NIfTI image") == 1
    require_same(tmp_path / "out", work)


@pytest.mark.exhaustive
def test_a_node_that_is_killed_is_done_without_and_a_new_one_is_used(
    cluster, on_ray, work, tmp_path
):
    driver = on_ray()
    wait_until(lambda: finished_in(tmp_path / "out") > 2)
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    cluster.add_node(num_cpus=CORES)
    status, said, errors = finish(driver)
    assert (status, f"{SCANS} scans finished" in said) == (1, True), errors
    require_same(tmp_path / "out", work)


@pytest.mark.exhaustive
def test_a_driver_that_is_killed_can_be_started_again(on_ray, work, tmp_path):
    driver = on_ray()
    wait_until(lambda: finished_in(tmp_path / "out") > 2)
    driver.kill()
    driver.communicate()
    status, said, errors = finish(on_ray())
    assert (status, f"{SCANS} scans finished" in said) == (1, True), errors
    require_same(tmp_path / "out", work)


@pytest.mark.exhaustive
def test_a_driver_that_is_asked_to_stop_finishes_what_was_begun(on_ray, work, tmp_path):
    driver = on_ray()
    wait_until(lambda: finished_in(tmp_path / "out") > 2)
    driver.terminate()
    status, _, errors = finish(driver)
    assert (status, "The same command continues" in errors) == (130, True), errors
    assert finish(on_ray())[0] == 1
    require_same(tmp_path / "out", work)


class Recorder(Progress):
    def __init__(self):
        self.warnings = []

    def warned(self, line):
        self.warnings.append(line)


def segment(cluster, work, out, **options):
    from wmh_runtime.cluster.ray_engine import segment_folder_on_ray

    bundle = load_bundle(str(work / "bundle"))
    known = {"address": cluster.address, "progress": Recorder()} | options
    return segment_folder_on_ray(work / "scans", out, bundle, OPTIONS, FolderOptions(), **known)


@pytest.mark.exhaustive
def test_a_scan_that_ends_its_worker_again_and_again_fails_alone(
    cluster, work, tmp_path, monkeypatch
):
    from wmh_runtime.cluster import ray_pool
    from wmh_runtime.cluster.ray_worker import RayWorker

    class Fragile(RayWorker):
        def segment(self, case):
            if case.path.name == "05.nii.gz":
                os._exit(1)  # as a library that crashes
            return super().segment(case)

    monkeypatch.setattr(ray_pool, "RayWorker", Fragile)
    outcome = segment(cluster, work, tmp_path / "out")
    reasons = {case.path.name: str(error) for case, error in outcome.failed}
    assert set(reasons) == {"05.nii.gz", "broken.nii.gz"}
    assert "ended the process that segmented it 3 times" in reasons["05.nii.gz"]
    assert len(outcome.done) + len(outcome.kept) == SCANS - 1


@pytest.mark.exhaustive
def test_workers_that_all_end_at_once_end_the_run(cluster, work, tmp_path, monkeypatch):
    from wmh_runtime.cluster import ray_pool
    from wmh_runtime.cluster.ray_worker import RayWorker

    class Broken(RayWorker):
        def open(self):
            os._exit(1)

    monkeypatch.setattr(ray_pool, "RayWorker", Broken)
    with pytest.raises(BackendError, match="3 workers ended before they had opened the model"):
        segment(cluster, work, tmp_path / "out")


@pytest.mark.exhaustive
def test_a_cluster_without_the_model_is_one_line(cluster, work, tmp_path, monkeypatch):
    from wmh_runtime.cluster import ray_pool
    from wmh_runtime.cluster.ray_worker import RayWorker

    class Lacking(RayWorker):
        def open(self):
            return InputError("is not there", "Install it.", about="model")

    monkeypatch.setattr(ray_pool, "RayWorker", Lacking)
    with pytest.raises(InputError, match=r"model: is not there. Install it."):
        segment(cluster, work, tmp_path / "out")


@pytest.mark.exhaustive
def test_a_machine_that_cannot_be_used_is_done_without_even_if_it_answers_first(
    cluster, work, tmp_path, monkeypatch
):
    from wmh_runtime.cluster import ray_pool
    from wmh_runtime.cluster.ray_worker import RayWorker

    bad = ray_nodes_of(cluster)[1]

    class Partly(RayWorker):
        def open(self):
            if ray.get_runtime_context().get_node_id() == bad:
                return InputError("is not there", "Mount it.", about="scans")
            time.sleep(1)
            return super().open()

    monkeypatch.setattr(ray_pool, "RayWorker", Partly)
    progress = Recorder()
    outcome = segment(cluster, work, tmp_path / "out", progress=progress)
    assert len(outcome.done) == SCANS
    assert (
        "a machine of the cluster is not used: scans: is not there. Mount it." in progress.warnings
    )


@pytest.mark.exhaustive
def test_a_worker_that_sees_another_folder_is_not_used(cluster, work, tmp_path, monkeypatch):
    from wmh_runtime.cluster import ray_pool
    from wmh_runtime.cluster.ray_worker import RayWorker

    class Elsewhere(RayWorker):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self._token = self._token.with_name("of another disk")

    monkeypatch.setattr(ray_pool, "RayWorker", Elsewhere)
    with pytest.raises(InputError, match="is not there, or is another folder, on"):
        segment(cluster, work, tmp_path / "out")


@pytest.mark.exhaustive
def test_an_answer_that_cannot_be_read_loses_the_worker_and_no_case(
    cluster, work, tmp_path, monkeypatch
):
    from wmh_runtime.cluster import ray_pool
    from wmh_runtime.cluster.ray_worker import RayWorker

    class Odd(RayWorker):
        def segment(self, case):
            if case.path.name == "05.nii.gz" and not (case.path.parent / "seen").exists():
                (case.path.parent / "seen").touch()
                raise RuntimeError("as of Ray itself")
            return super().segment(case)

    monkeypatch.setattr(ray_pool, "RayWorker", Odd)
    outcome = segment(cluster, work, tmp_path / "out")
    assert len(outcome.done) + len(outcome.kept) == SCANS


def ray_nodes_of(cluster):
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        return [one["NodeID"] for one in ray.nodes()]
    finally:
        ray.shutdown()


def test_no_cluster_is_one_line(work, tmp_path, run_command):
    arguments = (work / "scans", tmp_path / "out", *options_of(work), "--ray", "127.0.0.1:1")
    started = time.monotonic()
    status, _, errors = run_command(main, *arguments)
    assert (status, "--ray: no Ray cluster at 127.0.0.1:1" in errors) == (2, True), errors
    assert time.monotonic() - started < 60
