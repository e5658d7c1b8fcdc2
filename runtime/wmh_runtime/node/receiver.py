"""Receive images: answers C-ECHO and C-STORE of the nodes that are allowed."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from wmh_runtime.dicom.series import MR_IMAGES
from wmh_runtime.errors import InputError
from wmh_runtime.node.config import Listen
from wmh_runtime.node.metrics import Metrics
from wmh_runtime.node.queue import Queue
from wmh_runtime.node.study import QueuedStudy, code_of
from wmh_runtime.node.tls import TlsAssociationServer, server_context

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000  # status of C-STORE
# Not the deflated one: a small file could fill the memory when it is inflated.
_TRANSFER_SYNTAXES = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    JPEG2000,
]
_UIDS = ("StudyInstanceUID", "SOPInstanceUID")
_TIMEOUT_S = 60.0
_BYTES_IN_MB = 1_000_000

_log = logging.getLogger(__name__)


class Receiver:
    """Keeps received images in the queue.

    Args:
        config: where to listen, and to whom.
        queue: for the images.
        min_free_bytes: with less disk space, images are refused.
        metrics: to count.
        on_release: called with the studies whose senders have all ended their associations.
    """

    def __init__(
        self,
        config: Listen,
        queue: Queue,
        min_free_bytes: int,
        metrics: Metrics,
        on_release: Callable[[list[QueuedStudy]], None],
    ) -> None:
        self._config = config
        self._queue = queue
        self._min_free_bytes = min_free_bytes
        self._metrics = metrics
        self._on_release = on_release
        self._studies: dict[object, dict[str, QueuedStudy | None]] = defaultdict(dict)
        self._incomplete: dict[object, set[str]] = defaultdict(set)  # images of them were refused
        self._bytes: dict[object, int] = defaultdict(int)
        self._lock = threading.Lock()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Receive images within the block.

        Raises:
            InputError: the port cannot be used.
        """
        config = self._config
        entity = AE(config.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(config.allowed)
        entity.maximum_associations = config.max_associations
        entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = _TIMEOUT_S
        entity.add_supported_context(Verification)
        # Archives forward whole studies, and many give up if one kind of object is not accepted.
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), _TRANSFER_SYNTAXES)
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_DATA_RECV, self._count_bytes),
            (evt.EVT_RELEASED, self._released),
            (evt.EVT_ABORTED, self._ended),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REJECTED, self._rejected),
        ]
        address = (config.host, config.port)
        tls = server_context(config.tls) if config.tls else None
        try:
            server = entity.make_server(
                address,
                ssl_context=tls,
                evt_handlers=handlers,
                server_class=TlsAssociationServer,
            )
        except OSError as error:
            problem = f"port {config.port} cannot be used ({error.strerror})"
            raise InputError(problem, "Choose another port.", about="listen") from error
        threading.Thread(target=server.serve_forever, name="receive", daemon=True).start()
        _log.info("listening as %s on port %d", config.ae_title, config.port)
        try:
            yield
        finally:
            server.shutdown()
            entity.shutdown()

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            self._bytes.pop(event.assoc, None)
        if event.request.AffectedSOPClassUID not in MR_IMAGES:
            self._metrics.ignored.inc()
            return SUCCESS
        content = event.encoded_dataset()
        try:
            header = dcmread(BytesIO(content), stop_before_pixels=True, specific_tags=list(_UIDS))
            study_uid, image_uid = (str(header.get(name) or "") for name in _UIDS)
        except Exception:  # pydicom raises many types for a damaged file
            study_uid = image_uid = ""
        if not (study_uid and image_uid):
            return self._refuse("damaged", CANNOT_UNDERSTAND, "its header has no UIDs")
        code = code_of(study_uid)
        with self._lock:  # before it is kept: no other association releases its study from now on
            self._studies[event.assoc].setdefault(code, None)
        try:
            if self._queue.free_bytes < self._min_free_bytes:
                raise InputError("there is less free space on the disk than min_free_gb")
            study = self._queue.add_image(study_uid, image_uid, content)
        except (InputError, OSError) as error:
            with self._lock:  # its sender will send it later: the study is not complete
                self._incomplete[event.assoc].add(code)
            return self._refuse("disk", OUT_OF_RESOURCES, str(error))
        with self._lock:
            self._studies[event.assoc][code] = study
        self._metrics.images.inc()
        return SUCCESS

    def _refuse(self, reason: str, status: int, problem: str) -> int:
        self._metrics.refused.labels(reason).inc()
        _log.error("an image was refused: %s", problem)
        return status

    def _count_bytes(self, event: evt.Event) -> None:
        """Abort an association whose image becomes too large; it is in memory until it is whole."""
        limit = self._config.max_image_mb * _BYTES_IN_MB
        with self._lock:
            before = self._bytes[event.assoc]
            self._bytes[event.assoc] = after = before + len(event.data)
        if before <= limit < after:  # what still comes after the abort is not counted again
            self._refuse("size", 0, f"it is larger than {self._config.max_image_mb} MB")
            event.assoc.abort()

    def _released(self, event: evt.Event) -> None:
        """Mark studies that nobody else is sending, and of which no image was refused."""
        with self._lock:
            received = self._studies.pop(event.assoc, {})
            incomplete = self._incomplete.pop(event.assoc, set())
            open_ = {code for studies in self._studies.values() for code in studies}
            not_yet = incomplete | open_
            released = [study for code, study in received.items() if study and code not in not_yet]
            for study in released:
                with suppress(OSError):  # then it is complete a little later
                    study.mark_released()
        for study in released:
            _log.info("study %s: images received", study.code)
        self._on_release(released)

    def _ended(self, event: evt.Event) -> None:
        with self._lock:
            received = self._studies.pop(event.assoc, {})
            self._incomplete.pop(event.assoc, None)
        for code in received:
            _log.warning("study %s: its sender ended without a release", code)

    def _closed(self, event: evt.Event) -> None:
        if event.assoc.is_released:  # the connection may be closed before the release is told
            self._released(event)
        else:
            self._ended(event)
        with self._lock:
            self._bytes.pop(event.assoc, None)

    def _rejected(self, event: evt.Event) -> None:
        caller = event.assoc.requestor.ae_title
        _log.warning("an association of %r was rejected", caller)
