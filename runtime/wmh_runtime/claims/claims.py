"""The claims of one run: what it works on, and what other runs have."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wmh_runtime.claims.claim_file import ClaimContent, parse_claim
from wmh_runtime.claims.claim_store import ClaimFolder, ClaimStore
from wmh_runtime.files.process import ProcessId, this_process
from wmh_runtime.files.temporary import remove_temporary_files_of
from wmh_runtime.text import as_utf8

BEAT_S = 10.0  # between two signs of life
STALE_S = 120.0  # without a sign of life, an owner is taken for gone
_LEAST_LOOKS = 10  # at a claim that does not change, until it can be taken
_POLL_S = 1.0
_NAME_DIGITS = 32


class Claim:
    """Something that this run alone works on, until it is released.

    Args:
        store: that it is in.
        name: of it in the store.
        content: of it.
        previous_owner: the process that had it and is gone; None: nobody had it.
    """

    def __init__(
        self,
        store: ClaimStore,
        name: str,
        content: ClaimContent,
        previous_owner: ProcessId | None,
    ) -> None:
        self.previous_owner = previous_owner
        self._store = store
        self._name = name
        self._content = content
        self._beats = 0

    @property
    def is_held(self) -> bool:
        """Whether it still belongs to this run. If the run stood still for long, it may not."""
        found = parse_claim(self._store.read(self._name))
        return found is not None and found.token == self._content.token

    def beat(self) -> None:
        """Show that the owner is alive."""
        self._beats += 1
        with suppress(OSError):  # a moment without the network: the next beat tries again
            self._store.beat(self._name, self._content.after_beats(self._beats))

    def release(self) -> None:
        """Let others have it."""
        self._store.remove(self._name, self._content.token)


@dataclass
class _Seen:
    """What this run has seen of the claim of another one."""

    content: bytes
    looked_at: float  # by the monotonic clock
    still_s: float = 0.0  # how long it has not changed, as far as this run has looked


class Claims:
    """The claims of this run. In its `with` block, a thread shows that this run is alive.

    A claim whose owner is gone can be taken. An owner is gone if it is a process of this machine
    that has ended; or if its claim has not changed for `STALE_S`, by the clock of whoever waits for
    it. So clocks of several machines are never compared, and a clock that is set does no harm.

    Several threads may use it at a time.

    Args:
        store: of the claims; a folder is created with the first one.
        beat_s: time between two signs of life.
        stale_s: time without one after which a claim can be taken.
    """

    def __init__(
        self, store: ClaimStore | Path, *, beat_s: float = BEAT_S, stale_s: float = STALE_S
    ) -> None:
        self._store = ClaimFolder(store) if isinstance(store, Path) else store
        self._beat_s = beat_s
        self.stale_s = stale_s
        self._held: set[Claim] = set()
        self._lock = threading.Lock()
        self._seen: dict[str, _Seen] = {}  # of others
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._show_life, name="claims", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show that this run is alive."""
        self._store.open()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Release all claims."""
        self._ended.set()
        self._thread.join()
        self.release_all()

    def try_claim(self, name: str) -> Claim | None:
        """Claim something; None: another run, or another thread, has it.

        Args:
            name: of what is claimed, such as the path of a scan.

        Raises:
            InputError: the claim cannot be written.
        """
        stored_name, previous_owner = _stored_name(name), None
        content = ClaimContent(
            of=as_utf8(name), owner=str(this_process()), token=secrets.token_hex(8), beats=""
        ).after_beats(0)
        while not self._store.create(stored_name, content):
            found = self._store.read(stored_name)
            if found is None:  # just released; the next attempt will see
                return None
            if not self._is_gone(name, found) or not self._store.remove_stale(stored_name, found):
                return None
            previous_owner = _owner_of(found)
        claim = Claim(self._store, stored_name, content, previous_owner)
        with self._lock:
            self._seen.pop(name, None)
            self._held.add(claim)
        return claim

    def clear_after(self, claim: Claim, *folders: Path) -> None:
        """Remove the temporary files of the process that had a claim before and is gone.

        Args:
            claim: of this run.
            folders: where that process may have left some.
        """
        if claim.previous_owner is not None:
            for folder in folders:
                remove_temporary_files_of(claim.previous_owner, folder, older_than_s=self.stale_s)

    def release(self, claim: Claim) -> None:
        """Let others have a claim of this run."""
        with self._lock:
            self._held.discard(claim)
        claim.release()

    def release_all(self) -> None:
        """Let others have all claims of this run."""
        with self._lock:
            held, self._held = self._held, set()
        for claim in held:
            claim.release()

    @contextmanager
    def wait_for(
        self, name: str, on_wait: Callable[[ProcessId | None], None] = lambda _: None
    ) -> Iterator[Claim]:
        """Claim something for the block; wait until other runs have released it.

        Args:
            name: of what is claimed.
            on_wait: called once with the owner, if it has to be waited for.

        Raises:
            InputError: the claim cannot be written.
        """
        waits = False
        while (claim := self.try_claim(name)) is None:
            if not waits:
                on_wait(self.owner(name))
            waits = True
            time.sleep(_POLL_S)
        try:
            yield claim
        finally:
            self.release(claim)

    def owner(self, name: str) -> ProcessId | None:
        """Return the process that has something now; None if nobody has it, as far as is known."""
        return _owner_of(self._store.read(_stored_name(name)))

    def all(self) -> list[ClaimContent]:
        """Return what is claimed now, by whichever run, in the order of their names."""
        contents = map(parse_claim, self._store.contents())
        return sorted((one for one in contents if one is not None), key=lambda one: one.of)

    def _is_gone(self, name: str, found: bytes) -> bool:
        """Return whether the owner of a claim is gone, as far as this run has seen."""
        owner = _owner_of(found)
        if owner is not None and owner.has_ended:
            return True
        now = time.monotonic()
        with self._lock:
            seen = self._seen.get(name)
            if seen is None or seen.content != found:
                self._seen[name] = _Seen(found, now)
                return False
            # While this run itself could not look, nobody else may have been able to write.
            seen.still_s += min(now - seen.looked_at, self.stale_s / _LEAST_LOOKS)
            seen.looked_at = now
            return seen.still_s >= self.stale_s

    def _show_life(self) -> None:
        while not self._ended.wait(self._beat_s):
            with self._lock:
                held = tuple(self._held)
            for claim in held:
                if claim in self._held:  # it may have been released meanwhile
                    claim.beat()


def _stored_name(name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
    return f"{digest[:_NAME_DIGITS]}.json"


def _owner_of(data: bytes | None) -> ProcessId | None:
    content = parse_claim(data)
    return content.process if content else None
