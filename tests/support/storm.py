"""A storm: processes that share a store, killed and stopped at random until the time is up.

One program of it stands for one client of the store. It forks its workers, so that a new life costs
milliseconds, and shortens the store's constants of time in itself and in them: a life of trash
takes seconds and not a day.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from b10_transfer.operations.imports import import_for
from tests.support.storm_laws import change_laws
from tests.support.storm_work import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TERMS = "STORM_TERMS"
"""The environment variable that tells the program what to do. The product never reads it."""

_STRIKES_A_SECOND = 0.5
"""For each process."""

_KILLS = 0.4
"""The part of the strikes that kill; the others stop."""

_SHORT_STOP = 0.5
_LONG_STOP = 14.0
"""The longest stops, in seconds at a pace of 1: for a moment, or for longer than trash lives."""

_CALM_SECONDS = 2.0
"""At the end everybody goes on for so long: what was stopped may now do its worst."""

_DIE_WITH_THE_PARENT = 1
"""PR_SET_PDEATHSIG of Linux, prctl(2): SIGKILL ends a stopped process too."""

_GRACE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Storm:
    """What one client of a storm does.

    Attributes:
        store: the shared folder, as this client sees it.
        folder: where the workers have their hosts, and keep their journals.
        first: the number of the first worker.
        workers: how many.
        seconds: how long.
        began: when the storm began, in seconds since the epoch; the same for all its clients.
        pace: factor of all times but `seconds`.
        latency: longest pause before an effect on the store, in seconds.
        seed: of all random choices.
        law: the protection that is taken out; "" for none.
    """

    store: str
    folder: str
    first: int
    workers: int
    seconds: float
    began: float
    pace: float
    latency: float
    seed: str
    law: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """Where a client of a storm sees the store, and what only it sees."""

    store: Path
    variables: Mapping[str, str]


def run_storm(
    clients: Sequence[Client],
    folder: Path,
    *,
    workers: int,
    seconds: float,
    seed: str,
    pace: float = 1.0,
    latency: float = 0.004,
    law: str = "",
) -> Counter[str]:
    """Let it rage.

    Args:
        clients: one program for each; the workers are divided among them.
        folder: a local folder, for everything but the store.
        workers: of all clients together.
        seconds: how long.
        seed: of all random choices.
        pace: factor of all times but `seconds`.
        latency: longest pause before an effect on the store, in seconds.
        law: the protection that is taken out; "" for none.

    Returns:
        How many workers were killed, stopped, and ended by themselves.
    """
    share = workers // len(clients)
    began = time.time()
    storms = [
        Storm(
            str(client.store),
            str(folder),
            share * number,
            share,
            seconds,
            began,
            pace,
            latency,
            f"{seed} {number}",
            law,
        )
        for number, client in enumerate(clients)
    ]
    programs = [
        _start(client, storm, folder / f"client-{storm.first}.log")
        for client, storm in zip(clients, storms, strict=True)
    ]
    total: Counter[str] = Counter()
    try:
        for program, storm in zip(programs, storms, strict=True):
            out, _ = program.communicate(timeout=seconds + _GRACE_SECONDS)
            log = (folder / f"client-{storm.first}.log").read_text()
            assert program.returncode == 0, log
            total.update(json.loads(out))
    finally:
        for program in programs:
            # The workers die with it.
            program.kill()
            program.wait()
    return total


def _start(client: Client, storm: Storm, log: Path) -> subprocess.Popen[str]:
    with open(log, "w", encoding="utf-8") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.support.storm"],
            env={**client.variables, TERMS: json.dumps(dataclasses.asdict(storm))},
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )


class _Crew:
    """The workers of one client."""

    def __init__(self, storm: Storm) -> None:
        self._storm = storm
        self._draw = random.Random(storm.seed)
        self._pids: dict[int, int] = {}
        self._wake_at: dict[int, float] = {}
        self._lives: Counter[int] = Counter()
        self.counts: Counter[str] = Counter()

    def run(self) -> None:
        """Start, strike until the time is up, let the stopped go on for a while, and kill all."""
        end = time.monotonic() + self._storm.seconds
        rate = _STRIKES_A_SECOND * self._storm.workers / self._storm.pace
        try:
            for offset in range(self._storm.workers):
                self._start(self._storm.first + offset)
            while time.monotonic() < end:
                time.sleep(min(self._draw.expovariate(rate), end - time.monotonic()))
                self._wake(time.monotonic())
                self._reap()
                self._strike()
            self._reap()
            self._wake(float("inf"))
            time.sleep(_CALM_SECONDS * self._storm.pace)
            self._reap()
        finally:
            for number in list(self._pids):
                self._kill(number)

    def _strike(self) -> None:
        number = self._draw.choice(sorted(self._pids))
        if self._draw.random() < _KILLS:
            self._kill(number)
            self.counts["killed"] += 1
            self._start(number)
        elif 2 * len(self._wake_at) < self._storm.workers and number not in self._wake_at:
            os.kill(self._pids[number], signal.SIGSTOP)
            self._let_sleep(number, self._draw.choice([_SHORT_STOP, _LONG_STOP]))

    def _let_sleep(self, number: int, longest: float) -> None:
        seconds = self._draw.uniform(longest / 2, longest) * self._storm.pace
        self._wake_at[number] = time.monotonic() + seconds
        self.counts["stopped"] += 1

    def _wake(self, now: float) -> None:
        for number, at in list(self._wake_at.items()):
            if at <= now:
                del self._wake_at[number]
                os.kill(self._pids[number], signal.SIGCONT)

    def _kill(self, number: int) -> None:
        pid = self._pids.pop(number)
        self._wake_at.pop(number, None)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

    def _reap(self) -> None:
        """Look who stopped by itself; replace who ended by itself, which left a note of why."""
        for number, pid in list(self._pids.items()):
            changed, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
            if changed and os.WIFSTOPPED(status):
                if number not in self._wake_at:
                    self._let_sleep(number, _LONG_STOP)
            elif changed:
                del self._pids[number]
                self._wake_at.pop(number, None)
                self.counts["ended"] += 1
                self._start(number)

    def _start(self, number: int) -> None:
        life = self._lives[number]
        self._lives[number] += 1
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _live(self._storm, number, life, parent)
        self._pids[number] = pid


def _live(storm: Storm, number: int, life: int, parent: int) -> NoReturn:
    try:
        ctypes.CDLL(None).prctl(_DIE_WITH_THE_PARENT, signal.SIGKILL)
        if os.getppid() == parent:
            seed = f"{storm.seed} {number} {life}"
            Worker(
                Path(storm.store),
                Path(storm.folder),
                number,
                life,
                seed=seed,
                began=storm.began,
                pace=storm.pace,
            ).work()
    except BaseException:  # noqa: BLE001  # whatever it is, the test has to hear of it
        path = Path(storm.folder, f"{number}-{life}.failure")
        path.write_text(traceback.format_exc(), encoding="utf-8")
    finally:
        os._exit(1)


def _main() -> None:
    storm = Storm(**json.loads(os.environ[TERMS]))
    # Imported before the constants are changed: a module that comes later would have the real ones.
    import_for("load", "save", "collect", "clear")
    change_laws(storm.pace, storm.latency, storm.law)
    crew = _Crew(storm)
    crew.run()
    sys.stdout.write(json.dumps(crew.counts) + "\n")


if __name__ == "__main__":
    _main()
