"""A running save: its token, the heartbeat, waiting for its turn, and the publishing rename."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from b10_store.errors import FencedError
from b10_store.format.names import (
    HEARTBEAT_SECONDS,
    UNMARKED_DEAD_SECONDS,
    WAIT_LIMIT_SECONDS,
    WAITING_DEAD_SECONDS,
    SnapshotName,
    age,
    new_snapshot_id,
    parse_session_name,
)
from b10_store.remote.folder_names import SESSIONS
from b10_store.remote.patient import is_passing
from b10_store.remote.protocol import exists, read_bounded
from b10_store.save.session_owner import MARK_LIMIT, is_gone, own_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from b10_store.format.names import Address, SnapshotId
    from b10_store.remote.protocol import Remote, Token

_OPEN_ATTEMPTS = 5
_PUBLISH_ATTEMPTS = 5
_PUBLISH_PAUSE_SECONDS = 0.2
_FIRST_POLL_SECONDS = 0.1
_LAST_POLL_SECONDS = 2.0
_TELL_SECONDS = 1.0
_LOOKED_AT = 64
"""The most sessions that are read, unless there are more slots: anybody can create thousands."""


class Wait(NamedTuple):
    """The sessions that a save waits for.

    Attributes:
        rivals: earlier sessions of the same address, for whose end the save waits.
        running: earlier sessions of any address; one of them must end when there are too many.
        seconds: how much longer it will wait at most.
    """

    rivals: int
    running: int
    seconds: float


class Session:
    """One attempt to publish a manifest.

    The token is created before anything in the store is believed (I4), and becomes the manifest by
    a rename. If gc fences the session, it moves the token away first, so that the rename fails and
    nothing that was believed has an effect.
    """

    def __init__(self, remote: Remote, name: SnapshotName, token: Token) -> None:
        """Use `open_session`."""
        self._remote = remote
        self.name = name
        self._token = token
        self._marks: dict[SnapshotName, bytes] = {}
        self._over = threading.Event()
        self._heartbeat = threading.Thread(target=self._beat, name="b10-heartbeat", daemon=True)
        try:
            self._heartbeat.start()
        except RuntimeError:
            # No thread can be started. Without a heartbeat the worst result is a fence.
            self._over.set()

    def is_overtaken(self) -> bool:
        """Return whether a later session exists already, which may not wait for this one.

        Between drawing an id and creating its token, another saver may draw a later id, create its
        token, and find nobody ahead. If neither of two sessions was overtaken, the later saw the
        earlier. Sessions of other addresses count too, since all of them share the slots.
        """
        try:
            names = self._remote.list(SESSIONS)
        except OSError:
            return False
        parsed = (parse_session_name(name) for name in names)
        return any(name.snapshot > self.name.snapshot for name in parsed if name is not None)

    def wait_for_turn(
        self,
        slots: int,
        has_work: Callable[[], bool],
        limit_seconds: float,
        on_wait: Callable[[Wait], None] = lambda _: None,
    ) -> bool:
        """Let saves that began earlier go first: economy, never safety.

        Waits while a live, earlier session of the same address exists, since it probably uploads
        the same artifacts, and while `slots` earlier sessions of any address live. When the time is
        up it goes on, because anybody who can write to the store can create sessions that never
        end.

        Args:
            slots: how many saves may run at the same time.
            has_work: returns whether anything is left to save; asked when an earlier session of the
                address ended.
            limit_seconds: the longest wait.
            on_wait: called once, when the save has only waited for a moment.

        Returns:
            False when another save left nothing to do.
        """
        began = time.monotonic()
        deadline = began + limit_seconds
        is_told = False
        pause = _FIRST_POLL_SECONDS
        most = max(slots, _LOOKED_AT)
        ahead = self._earlier_sessions(most)
        while True:
            rivals = {name for name in ahead if name.address == self.name.address}
            if (not rivals and len(ahead) < slots) or time.monotonic() >= deadline:
                return True
            if not is_told and time.monotonic() - began >= _TELL_SECONDS:
                is_told = True
                on_wait(Wait(len(rivals), len(ahead), deadline - time.monotonic()))
            time.sleep(pause)
            pause = min(2 * pause, _LAST_POLL_SECONDS)
            ahead = self._earlier_sessions(most)
            ended = rivals.difference(ahead)
            if ended and not has_work():
                return False

    def publish(self, chunks: Iterable[bytes]) -> None:
        """Write the manifest into the token and rename it: from then on every host can load it.

        The token is written in place, through the descriptor it was created with: a new file under
        its name would undo a fence (I5).

        Raises:
            FencedError: the token was moved away; nothing was published.
            OSError: the manifest could not be written or renamed; nothing was published, as far as
                can be told.
        """
        self._stop_heartbeat()
        self._token.write(chunks)
        self._token.close()
        source, target = self.name.session_path, self.name.manifest_path
        for attempt in range(_PUBLISH_ATTEMPTS):
            try:
                self._remote.rename(source, target)
            except OSError as error:
                # A rename can succeed although its answer is lost, so the name decides.
                with contextlib.suppress(OSError):
                    if exists(self._remote, target):
                        return
                    if not exists(self._remote, source):
                        raise FencedError(f"the token of {self.name} was moved away") from error
                if attempt == _PUBLISH_ATTEMPTS - 1:
                    raise
                time.sleep(_PUBLISH_PAUSE_SECONDS)
            else:
                return

    def abandon(self) -> None:
        """End without publishing, if possible without leaving a token behind."""
        self._stop_heartbeat()
        with contextlib.suppress(OSError):
            self._token.close()
        with contextlib.suppress(OSError):
            self._remote.delete(self.name.session_path)

    def _earlier_sessions(self, most: int) -> set[SnapshotName]:
        """Return live sessions with a smaller id that began within the last minute.

        A save does not wait for an older one, whatever signs of life it shows: it may take as long
        again.

        Args:
            most: how many are read; those of the same address and the earliest come first.
        """
        parsed = (parse_session_name(name) for name in self._remote.list(SESSIONS))
        own = (self.name.snapshot, self.name.address)
        earlier = [
            name for name in parsed if name is not None and (name.snapshot, name.address) < own
        ]
        if not earlier:
            return set()
        now = self._remote.now()
        recent = [name for name in earlier if age(name.begun_at, now) <= WAIT_LIMIT_SECONDS]
        recent.sort(key=lambda name: (name.address != self.name.address, name.snapshot))
        return {name for name in recent[:most] if self._lives(name, now)}

    def _lives(self, name: SnapshotName, now: float) -> bool:
        """Return whether a session shows signs of life, or its process exists on this machine."""
        silence = self._silence(name, now)
        if silence > WAITING_DEAD_SECONDS:
            return False
        return not is_gone(self._mark_of(name)) and silence <= self._patience(name)

    def _patience(self, name: SnapshotName) -> float:
        """Return how long a session may be silent: a living saver marks its token at once."""
        return WAITING_DEAD_SECONDS if self._marks.get(name) else UNMARKED_DEAD_SECONDS

    def _mark_of(self, name: SnapshotName) -> bytes:
        mark = self._marks.get(name, b"")
        if not mark:
            # For a moment after its creation a token is empty.
            with contextlib.suppress(OSError):
                mark = self._marks[name] = read_bounded(self._remote, name.session_path, MARK_LIMIT)
        return mark

    def _silence(self, name: SnapshotName, now: float) -> float:
        try:
            return age(self._remote.stat(name.session_path).mtime, now)
        except OSError:
            # Ended since the listing; on NFS that may also show as a stale handle.
            return float("inf")

    def _beat(self) -> None:
        while not self._over.wait(HEARTBEAT_SECONDS):
            # A missed beat costs at most a fence, and so another attempt.
            with contextlib.suppress(OSError):
                self._token.touch()

    def _stop_heartbeat(self) -> None:
        self._over.set()
        if self._heartbeat.is_alive():
            self._heartbeat.join()


def open_session(remote: Remote, address: Address, after: SnapshotId | None = None) -> Session:
    """Create a token, exclusively, that no later session has overtaken.

    Args:
        remote: the store.
        address: what will be published under.
        after: the newest snapshot of the address, if any; the session's id is later.

    Raises:
        OSError: the store cannot be written.
    """
    for _ in range(_OPEN_ATTEMPTS - 1):
        session = _try_open(remote, address, after)
        if session is not None and not session.is_overtaken():
            return session
        if session is not None:
            session.abandon()
    name = SnapshotName(address, new_snapshot_id(remote.now(), after))
    return Session(remote, name, _create_token(remote, name))


def _try_open(remote: Remote, address: Address, after: SnapshotId | None) -> Session | None:
    """Return None to try another name: the mount failed in passing, or the name is taken.

    Random bits do not repeat, but the answer to a successful creation may be lost.
    """
    name = SnapshotName(address, new_snapshot_id(remote.now(), after))
    try:
        token = _create_token(remote, name)
    except FileExistsError:
        return None
    except OSError as error:
        if not is_passing(error):
            raise
        return None
    return Session(remote, name, token)


def _create_token(remote: Remote, name: SnapshotName) -> Token:
    try:
        token = remote.open_token(name.session_path)
    except OSError:
        # If the token was created although an error was returned, others would wait for it. It is
        # ours: nobody else draws the same random bits.
        with contextlib.suppress(OSError):
            remote.delete(name.session_path)
        raise
    with contextlib.suppress(OSError):
        # Without the mark, others wait a little longer if this process is killed.
        token.write([own_mark()])
    return token
