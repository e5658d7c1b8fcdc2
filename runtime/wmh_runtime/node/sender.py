"""Send results to a destination, and try again until it has them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import (
    UID,
    EnhancedSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from wmh_runtime.errors import InputError
from wmh_runtime.files.os_errors import reason_of
from wmh_runtime.node.config import Destination, ResultKind
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.tls import client_context
from wmh_runtime.text import count_noun

_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 600.0
_POLL_S = 1.0
_TIMEOUT_S = 60.0
_SYNTAXES = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_CLASS_OF_KIND: dict[ResultKind, str] = {
    "segmentation": SegmentationStorage,
    "probability": SegmentationStorage,
    "report": EnhancedSRStorage,
    "picture": SecondaryCaptureImageStorage,
}
_WARNINGS = range(0xB000, 0xC000)  # of C-STORE: stored, with a remark

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Wait:
    """When a file is sent again, after it could not be sent."""

    seconds: float = 0.0
    until_s: float = 0.0  # of the monotonic clock

    def next(self) -> _Wait:
        """Return the wait after one more failure: twice as long."""
        seconds = min(max(2 * self.seconds, _FIRST_WAIT_S), _LONGEST_WAIT_S)
        return _Wait(seconds, time.monotonic() + seconds)


_NO_WAIT = _Wait()


class Sender(threading.Thread):
    """Sends what is in the outbox of one destination.

    Args:
        destination: to send to.
        queue: with the outbox.
        ae_title: of this node.
        metrics: to count.
    """

    def __init__(
        self, destination: Destination, queue: Queue, ae_title: str, metrics: Metrics
    ) -> None:
        super().__init__(name=f"send-{destination.name}", daemon=True)
        self._destination = destination
        self._queue = queue
        self._metrics = metrics
        self._ae_title = ae_title
        self._waits: dict[Path, _Wait] = {}
        self._stop_requested = threading.Event()

    def run(self) -> None:
        """Send results until `stop` is called."""
        while not self._stop_requested.is_set():
            try:
                self._send_due()
            except Exception as error:  # a bug; the results wait
                _log.error(
                    "%s: unexpected error (%s)", self._destination.name, type(error).__name__
                )
                self._stop_requested.wait(_LONGEST_WAIT_S)

    def _send_due(self) -> None:
        """Send the results whose time has come; wait a moment if there is none."""
        now = time.monotonic()
        waiting = self._queue.outbox.waiting(self._destination.name)
        self._waits = {path: wait for path, wait in self._waits.items() if path in waiting}
        if due := [path for path in waiting if self._waits.get(path, _NO_WAIT).until_s <= now]:
            self._send_all(due)
        else:
            self._stop_requested.wait(_POLL_S)

    def stop(self) -> None:
        """Stop after the file that is being sent."""
        self._stop_requested.set()

    def _send_all(self, files: list[Path]) -> None:
        files = [path for path in files if self._is_readable(path)]
        if not files:
            return
        try:
            association = associate(self._destination, self._ae_title, sop_classes(files))
        except InputError as error:
            self._postpone(files, error.problem)
            return
        if not association.is_established:
            self._postpone(files, "it cannot be reached, or does not accept this node")
            return
        sent = 0
        try:
            for path in files:
                if self._stop_requested.is_set():
                    return
                if problem := self._send(association, path):
                    self._postpone([path], problem)
                else:
                    sent += 1
        finally:
            association.release()
            if sent:
                _log.info("%s: %s sent", self._destination.name, count_noun(sent, "result"))

    def _is_readable(self, path: Path) -> bool:
        """Return whether a result is a DICOM file; else set it aside."""
        try:
            sop_classes([path])
        except OSError as error:
            self._postpone([path], f"it cannot be read ({reason_of(error)})")
            return False
        except Exception:  # pydicom raises many types
            _log.error("%s: a result cannot be read, and is set aside", self._destination.name)
            self._queue.outbox.reject(path)
            return False
        return True

    def _postpone(self, files: list[Path], problem: str) -> None:
        self._metrics.send_failures.labels(self._destination.name).inc()
        waits = [self._waits.get(path, _NO_WAIT).next() for path in files]
        self._waits |= dict(zip(files, waits, strict=True))
        count, seconds = count_noun(len(files), "result"), min(wait.seconds for wait in waits)
        _log.warning(
            "%s: %s not sent: %s; trying again in %.0f s",
            self._destination.name,
            count,
            problem,
            seconds,
        )

    def _send(self, association: Association, path: Path) -> str:
        """Send a file, and remove it once the destination has it; return why it has not."""
        try:
            status = association.send_c_store(path)
        except ValueError:
            return "its kind is not accepted"
        except (RuntimeError, OSError):
            return "the connection was lost"
        except Exception as error:  # of this file: the others are sent
            return f"unexpected error ({type(error).__name__})"
        code = status.get("Status")
        if code is None:
            return "the connection was lost"
        if code != 0 and code not in _WARNINGS:
            return f"it was refused with the status 0x{code:04X}"
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            return f"it was sent, but cannot be removed ({reason_of(error)})"
        self._metrics.sent.labels(self._destination.name).inc()
        return ""


def sop_classes(files: Sequence[Path]) -> list[str]:
    """Return the SOP classes of files."""
    return sorted(
        {
            str(dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True).SOPClassUID)
            for path in files
        }
    )


def associate(destination: Destination, ae_title: str, classes: list[str]) -> Association:
    """Open an association with a destination; it may fail, see `is_established`.

    Args:
        destination: to associate with.
        ae_title: of this node.
        classes: UIDs of SOP classes that will be sent.

    Raises:
        InputError: its address or the certificates cannot be used.
    """
    entity = AE(ae_title)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = _TIMEOUT_S
    # Without Verification, one that takes none of the results would look as if it were off.
    for sop_class in dict.fromkeys([Verification, *classes]):
        entity.add_requested_context(sop_class, _SYNTAXES)
    tls = destination.tls
    try:
        return entity.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            tls_args=(client_context(tls), destination.host) if tls else None,
        )
    except OSError as error:  # such as a name that is not known
        problem = f"{destination.host} cannot be used ({reason_of(error)})"
        advice = "Check the name of the computer."
        raise InputError(problem, advice, about=f"destination {destination.name}") from error


def require_answer(destination: Destination, ae_title: str, kinds: Sequence[ResultKind]) -> None:
    """Check that a destination answers, and takes all kinds of results.

    Args:
        destination: to ask.
        ae_title: of this node.
        kinds: of results that will be sent.

    Raises:
        InputError: it does not.
    """
    about = f"destination {destination.name}"
    classes = sorted({_CLASS_OF_KIND[kind] for kind in kinds})
    association = associate(destination, ae_title, classes)
    if not association.is_established:
        problem = f"does not answer at {destination.host}, port {destination.port}"
        advice = "Check address and AE titles, there and here, and the firewall."
        raise InputError(problem, advice, about=about)
    status = association.send_c_echo().get("Status")
    accepted = {context.abstract_syntax for context in association.accepted_contexts}
    association.release()
    if status != 0:
        found = "none" if status is None else f"0x{status:04X}"
        raise InputError(f"answers C-ECHO with the status {found}", "Check its log.", about=about)
    if refused := [UID(one).name for one in classes if one not in accepted]:
        advice = "Let it take them, or leave these kinds of results out."
        raise InputError(f"does not take {', '.join(refused)}", advice, about=about)
