"""A node in a process of its own, and nodes around it."""

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pydicom
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import MRImageStorage, Verification

CALLER = "SCANNER"
NODE = "WMH"
PACS = "PACS"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(condition, timeout_s=60.0):
    """Wait until a condition holds; return its value."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {timeout_s} s")


class Node:
    """The program `wmh-node` with a configuration of its own.

    Args:
        folder: for the configuration and the queue.
        bundle: of the model.
        destinations: name → port of a node with the title PACS.
        more: further lines of the configuration, by section.
    """

    def __init__(self, folder: Path, bundle, destinations=None, more=None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.status_port = free_port(), free_port()
        self.queue = folder / "queue"
        self.results = folder / "results"
        self.config = folder / "node.toml"
        self.log = folder / "log.txt"
        self.process = None
        lines = {
            "": [f'folder = "{self.queue}"'],
            "listen": [
                f'ae_title = "{NODE}"',
                f'allowed = ["{CALLER}", "{PACS}"]',
                f"port = {self.port}",
                'host = "127.0.0.1"',
            ],
            "study": ["quiet_s = 0.3"],
            "model": [f'bundle = "{bundle}"', 'backend = "onnxruntime"', 'tta = "none"'],
            "results": [f'folder = "{self.results}"'],
            "status": [f"port = {self.status_port}", "min_free_gb = 0"],
        }
        for section, further in (more or {}).items():
            names = {line.partition(" = ")[0] for line in further}
            kept = [one for one in lines[section] if one.partition(" = ")[0] not in names]
            lines[section] = [*kept, *further]
        for name, port in (destinations or {}).items():
            lines[f"[results.destinations]:{name}"] = [
                f'name = "{name}"',
                f'ae_title = "{PACS}"',
                'host = "127.0.0.1"',
                f"port = {port}",
            ]
        text = [
            "\n".join([f"[{section.partition(':')[0]}]"] * bool(section) + content)
            for section, content in lines.items()
        ]
        self.config.write_text("\n\n".join(text) + "\n")

    def start(self):
        program = "from wmh_runtime.cli.node import main; main()"
        command = [sys.executable, "-c", program, str(self.config)]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        wait_for(lambda: self.process.poll() is not None or self.page("metrics"))
        assert self.process.poll() is None, self.log.read_text()
        wait_for(self.answers)
        return self

    def answers(self) -> bool:
        return echo(self.port)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def page(self, name: str) -> str:
        try:
            address = f"http://127.0.0.1:{self.status_port}/{name}"
            with urllib.request.urlopen(address, timeout=5) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"
        except OSError:
            return ""

    def count(self, metric: str) -> float:
        for line in self.page("metrics").splitlines():
            if line.startswith(f"{metric} "):
                return float(line.split()[-1])
        return 0.0

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()


def sender(caller=CALLER, syntax="1.2.840.10008.1.2.1") -> AE:
    entity = AE(caller)
    entity.add_requested_context(MRImageStorage, syntax)
    entity.add_requested_context(Verification)
    return entity


def associate(port: int, caller=CALLER, called=NODE):
    return sender(caller).associate("127.0.0.1", port, ae_title=called)


def echo(port: int, caller=CALLER, called=NODE) -> bool:
    association = associate(port, caller, called)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return status.get("Status") == 0


def send(port: int, images, caller=CALLER) -> list[int]:
    """Send images in one association; return the status of each."""
    association = associate(port, caller)
    assert association.is_established
    statuses = [association.send_c_store(image).get("Status") for image in images]
    association.release()
    return statuses


class FakePacs:
    """A node that keeps what it receives in memory.

    Args:
        port: to listen on.
        refusals: how many results are refused before one is taken.
        answers_after_s: how long it takes to answer.
        without: name of a kind that it does not take.
    """

    def __init__(
        self, port: int, refusals: int = 0, answers_after_s: float = 0.0, without: str = ""
    ) -> None:
        self.port = port
        self.answers_after_s = answers_after_s
        self._without = without
        self.received: list[pydicom.Dataset] = []
        self.refusals = refusals
        self._lock = threading.Lock()

    def _store(self, event) -> int:
        time.sleep(self.answers_after_s)
        with self._lock:
            if self.refusals:
                self.refusals -= 1
                return 0xA700
            dataset = event.dataset
            dataset.file_meta = event.file_meta
            self.received.append(dataset)
            return 0x0000

    @contextmanager
    def listening(self):
        entity = AE(PACS)
        entity.supported_contexts = [
            one
            for one in AllStoragePresentationContexts
            if one.abstract_syntax.name != self._without
        ]
        entity.add_supported_context(Verification)
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        try:
            yield self
        finally:
            server.shutdown()
