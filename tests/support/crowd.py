"""Loads and saves in real processes that begin at the same moment.

A process of its own imports the product once and forks a child for each of them: fifty processes
cost little more than one. A child can be of another user and still has everything imported, even
where that user could not read the checkout.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISVTX
from typing import TYPE_CHECKING, Any, NoReturn

from b10_transfer.errors import CacheError
from b10_transfer.operations import transfer
from b10_transfer.settings import Settings
from tests.support.sites import Site

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from b10_transfer.operations.reports import LoadReport, SaveReport

OTHER_USER = 65534
"""The uid of a user who owns nothing here: nobody."""

_SECONDS = 300


def open_the_way_to(folder: Path) -> None:
    """Let every user come to a folder that is below one of everybody's."""
    parents = [*folder.resolve().parents]
    shared = [number for number, parent in enumerate(parents) if parent.stat().st_mode & S_ISVTX]
    for parent in parents[: min(shared, default=0)]:
        parent.chmod(parent.stat().st_mode | 0o011)


@dataclass(frozen=True, slots=True)
class Act:
    """What one process does.

    Attributes:
        operation: "load" or "save".
        variables: its environment variables.
        user: the uid (and gid) to do it as; None for this process' own.
        umask: of the process.
        wait: whether a save lets earlier ones go first.
    """

    operation: str
    variables: Mapping[str, str]
    user: int | None = None
    umask: int = 0o022
    wait: bool = True


@dataclass(frozen=True, slots=True)
class Result:
    """How it ended: the report's fields, or the error."""

    status: str
    error: str = ""
    report: dict[str, Any] = field(default_factory=dict[str, Any])


def run_together(acts: Sequence[Act]) -> list[Result]:
    """Run all of them at once, each in a process of its own; the results in the same order."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.support.crowd"],
        input=json.dumps([dataclasses.asdict(act) for act in acts]),
        env=dict(acts[0].variables),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return [Result(**fields) for fields in json.loads(process.stdout.splitlines()[-1])]


def run_one(act: Act) -> Result:
    """Run one of them."""
    (result,) = run_together([act])
    return result


def _main() -> None:
    acts = [Act(**fields) for fields in json.loads(sys.stdin.read())]
    if any(act.user is not None for act in acts):
        _import_everything()
    gate, opened = os.pipe()
    pipes: list[int] = []
    children: list[int] = []
    for act in acts:
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(opened)
            _act_and_exit(act, gate, writing)
        os.close(writing)
        pipes.append(reading)
        children.append(child)
    os.close(opened)
    results: list[object] = []
    for pipe in pipes:
        with open(pipe, "rb") as file:
            answer = file.read()
        results.append(json.loads(answer) if answer else {"status": "DIED"})
    for child in children:
        os.waitpid(child, 0)
    sys.stdout.write(json.dumps(results) + "\n")


def _act_and_exit(act: Act, gate: int, writing: int) -> NoReturn:
    code = 1
    try:
        os.environ.clear()
        os.environ.update(act.variables)
        tempfile.tempdir = None
        os.umask(act.umask)
        if act.user is not None:
            os.setgroups([])
            os.setgid(act.user)
            os.setuid(act.user)
        os.read(gate, 1)
        os.write(writing, json.dumps(dataclasses.asdict(_act(act))).encode())
        code = 0
    finally:
        # Whatever happened, the child never goes on with what its parent is about to do.
        if code:
            traceback.print_exc()
        os._exit(code)


def _act(act: Act) -> Result:
    try:
        settings = Settings.from_environment()
        if act.operation == "load":
            report: LoadReport | SaveReport = transfer.load(settings)
        else:
            report = transfer.save(settings, wait=act.wait)
    except CacheError as error:
        return Result("ERROR", f"{type(error).__name__}: {error}")
    fields = dataclasses.asdict(report)
    return Result(report.status.name, report={**fields, "status": report.status.name})


def _import_everything() -> None:
    """Save and load once, so that nothing is left to be imported as a user who cannot read it."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder))
        site.host("saver", {"ab/x.py": b"x"}).save()
        site.host("loader").load()


if __name__ == "__main__":
    _main()
