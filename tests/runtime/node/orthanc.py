"""Orthanc, a PACS in a process of its own."""

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from tests.runtime.node.node_process import free_port, wait_for

PROGRAM = shutil.which("Orthanc") or shutil.which("/usr/sbin/Orthanc")
needs_orthanc = pytest.mark.skipif(PROGRAM is None, reason="Orthanc (orthanc) is not installed")


class Orthanc:
    """An archive with the title PACS.

    Args:
        folder: for its files.
        node_port: of the node to forward studies to.
    """

    def __init__(self, folder, node_port: int) -> None:
        self.port, self._http = free_port(), free_port()
        folder.mkdir(parents=True)
        self._config = folder / "orthanc.json"
        self._log = folder / "log.txt"
        self._config.write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "storage"),
                    "IndexDirectory": str(folder / "storage"),
                    "DicomAet": "PACS",
                    "DicomPort": self.port,
                    "HttpPort": self._http,
                    "RemoteAccessAllowed": False,
                    "AuthenticationEnabled": False,
                    "DicomModalities": {"wmh": ["WMH", "127.0.0.1", node_port]},
                    "Plugins": [],
                }
            )
        )

    @contextmanager
    def running(self):
        with self._log.open("w") as log:
            process = subprocess.Popen([PROGRAM, str(self._config)], stdout=log, stderr=log)
        try:
            wait_for(self._answers)
            yield self
        finally:
            process.terminate()
            process.wait(30)

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except (urllib.error.URLError, ConnectionError):
            return False

    def get(self, path: str):
        return json.loads(self.read(path))

    def read(self, path: str, data: bytes | None = None) -> bytes:
        request = urllib.request.Request(f"http://127.0.0.1:{self._http}{path}", data=data)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def store(self, files) -> None:
        for file in files:
            self.read("/instances", file.read_bytes())

    def forward(self, study: str) -> None:
        """Send a study to the node by C-STORE."""
        self.read("/modalities/wmh/store", study.encode())

    def study_of(self, uid: str) -> str:
        for study in self.get("/studies"):
            if self.get(f"/studies/{study}")["MainDicomTags"]["StudyInstanceUID"] == uid:
                return study
        raise AssertionError(f"no study {uid}")

    def series(self, study: str) -> dict[str, list[str]]:
        """The instances of a study by modality."""
        found = {}
        for series in self.get(f"/studies/{study}/series"):
            found.setdefault(series["MainDicomTags"]["Modality"], []).extend(series["Instances"])
        return found
