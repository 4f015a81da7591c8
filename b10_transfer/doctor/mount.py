"""Try what a mount can do, within a time limit."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from b10_store import SESSIONS, TEMPORARY_MARK, TRASH
from b10_transfer.doctor import mount_probe, patience
from b10_transfer.doctor.patience import THREAD
from b10_transfer.machine.filesystems import filesystem_of
from b10_transfer.time_limit import TimeUpError, call_within

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Step:
    """One step that was tried.

    Attributes:
        facts: its results; see `mount_probe`.
        error: the filesystem's error; "" when it succeeded.
        errno: the number of that error.
    """

    facts: Mapping[str, Any]
    error: str = ""
    errno: int = 0

    @property
    def holds(self) -> bool:
        """Whether the step had the expected result, at once or soon."""
        return not self.error and self.facts.get("holds", True) is True


@dataclass(slots=True)
class Answers:
    """The answers of a mount, step by step.

    Attributes:
        steps: the steps that ended, by name.
        pending: the step that did not answer in time; "" when all did.
    """

    steps: dict[str, Step] = field(default_factory=dict[str, Step])
    pending: str = ""

    def facts(self, name: str) -> Mapping[str, Any]:
        """Return the facts of a step; empty when it was not taken."""
        step = self.steps.get(name)
        return {} if step is None else step.facts


def look_at(folder: str) -> Answers:
    """Look at a folder; change nothing."""
    return _ask(["look", folder])


def try_out(folder: str, names: Collection[str]) -> Answers:
    """Try what the filesystem of a store can do.

    Files are created under names that the garbage collection sweeps, and removed.

    Args:
        folder: the store.
        names: its content; no folder is created in it.
    """
    name = f"probe{TEMPORARY_MARK}{secrets.token_hex(8)}"
    places = [place if place in names else "." for place in (SESSIONS, TRASH)]
    return _ask(["try", folder, *places, name])


class Mounts:
    """The mounts that hang. Each is asked once; mounts of this host's own disks are not asked."""

    def __init__(self) -> None:
        """Ask nothing yet."""
        self._hanging: dict[str, bool] = {}

    def note_hanging(self, path: str) -> None:
        """Remember that the mount of a path hangs."""
        mounted = filesystem_of(os.path.normpath(path))
        if mounted is not None:
            self._hanging[mounted.folder] = True

    def hanging(self, path: str) -> str:
        """Return the folder of the mount that a path is on, if that hangs; else ""."""
        mounted = filesystem_of(os.path.normpath(path))
        if mounted is None or mounted.is_local:
            return ""
        folder = mounted.folder
        if folder not in self._hanging:
            self._hanging[folder] = bool(look_at(folder).pending)
        return folder if self._hanging[folder] else ""


def _ask(arguments: list[str]) -> Answers:
    """Run the probe in a process of its own.

    Nothing may be able to interrupt a call into a mount that hangs, and its process cannot end
    either. This process must.
    """
    command = [sys.executable or "python3", "-I", "-S", mount_probe.__file__, *arguments]
    try:
        process = subprocess.Popen(  # noqa: S603  # this interpreter, and a file of ours
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
            # The terminal's interrupt must not reach it, because it has to clean up.
            start_new_session=True,
        )
    except OSError:
        return _ask_here(arguments)
    answers, deadline = Answers(), time.monotonic() + patience.ANSWER_SECONDS
    for line in _lines(process, deadline):
        with contextlib.suppress(ValueError):
            _note(json.loads(line), answers)
    if not answers.steps and not answers.pending:
        # Python is embedded in another program, or this package is in an archive.
        return _ask_here(arguments)
    return answers


def _ask_here(arguments: list[str]) -> Answers:
    """Run the probe in a thread, when no process can be started."""
    answers = Answers()

    def run() -> None:
        for said in mount_probe.run(arguments):
            _note(said, answers)

    with contextlib.suppress(TimeUpError):
        call_within(patience.ANSWER_SECONDS, run, THREAD)
    return answers


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    """Yield the lines that the process prints, until it ends or the time is up."""
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def read() -> None:
        # This also waits for the process; if the kernel cannot end it, only this thread hangs.
        with process:
            for line in process.stdout or ():
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="b10-doctor", daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            process.kill()
            return
        if line is None:
            return
        yield line


def _note(said: Mapping[str, Any], answers: Answers) -> None:
    if "begin" in said:
        answers.pending = said["begin"]
        return
    answers.pending = ""
    answers.steps[said["step"]] = Step(said["facts"], said["error"] or "", said["errno"] or 0)
