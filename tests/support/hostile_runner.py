"""Loads from hostile stores, each in a process of its own with little memory and little time.

To be started as a program: `python -m tests.support.hostile_runner FOLDER CORPUS`; prints, of each
case of the corpus, what came of it: a JSON object a line.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import resource
import shutil
import signal
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import b10_transfer
from b10_transfer import CacheError
from b10_transfer.caches.kinds import INDUCTOR
from tests.support.any_names import allow_any_name
from tests.support.cache_trees import snapshot
from tests.support.forged_stores import Forge
from tests.support.hostile_files import OUTSIDE
from tests.support.sites import Host
from tests.support.trees import artifacts_of, compiled, differences, put_artifacts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.forged_stores import Case, Outcome

_SECONDS = 300
_ADDRESS_SPACE = 3 << 30
_SPECIAL = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX


def main() -> None:
    """Run the cases; the exit status is 0 whatever they found."""
    logging.disable(logging.CRITICAL)
    allow_any_name(INDUCTOR)
    folder = Path(sys.argv[1])
    corpus = importlib.import_module(f"tests.support.{sys.argv[2]}")
    cases: Mapping[str, Case] = corpus.CASES
    _save(folder)
    for name, plant in cases.items():
        sys.stdout.write(json.dumps({"case": name, **_run(folder, plant)}) + "\n")
        sys.stdout.flush()


def _save(folder: Path) -> None:
    """Save the good artifacts, and load once, so that all is imported that a load needs."""
    saver = Host(folder / "good", folder / "saver")
    put_artifacts(saver, compiled("good"))
    saver.save()
    Host(folder / "good", folder / "warm").load()


def _run(folder: Path, plant: Case) -> dict[str, Any]:
    scratch = folder / "case"
    shutil.rmtree(folder / "store", ignore_errors=True)
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder / "good", folder / "store")
    scratch.mkdir()
    (scratch / OUTSIDE).write_bytes(b"not to be read or written")
    try:
        outcome = plant(Forge(folder / "store", scratch))
    except Exception as error:  # noqa: BLE001  # told as what became of this case; others go on
        return {"raised": f"while it was planted: {error!r}"}
    reader, writer = os.pipe()
    began = time.monotonic()
    child = os.fork()
    if not child:
        _in_child(reader, writer, folder / "store", scratch, outcome)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    _, status, usage = os.wait4(child, 0)
    return {
        "died": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - began,
        "megabytes": usage.ru_maxrss / 1024 - _resident(),
        "most_megabytes": outcome.megabytes,
        "refused": outcome.refused,
        "displacing": outcome.displacing,
        "expected_again": outcome.again,
        **(json.loads(text) if text else {}),
    }


def _in_child(reader: int, writer: int, store: Path, scratch: Path, outcome: Outcome) -> None:
    os.close(reader)
    status = 1
    try:
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.alarm(_SECONDS)
        found = _load(store, scratch, outcome)
        with os.fdopen(writer, "w") as answer:
            answer.write(json.dumps(found))
        status = 0
    except BaseException as error:  # noqa: BLE001  # the child must not go on as its parent
        with os.fdopen(writer, "w") as answer:
            answer.write(json.dumps({"raised": repr(error)[:500]}))
    finally:
        os._exit(status)


def _load(store: Path, scratch: Path, outcome: Outcome) -> dict[str, Any]:
    host = Host(store, scratch / "host")
    variables = host.variables()
    os.environ.clear()
    os.environ.update(variables)
    before = {**_outside(store), **_outside(scratch)}
    found: dict[str, Any] = {}
    try:
        report = b10_transfer.load()
        found |= {"status": report.status.name, "unavailable": report.unavailable}
        found["problems"] = list(report.problems)
    except CacheError as error:
        found |= {"status": type(error).__name__, "unavailable": 0, "problems": [str(error)]}
    found["again"] = b10_transfer.load_compile_cache().name
    listed = [b10_transfer.list_available_caches(), b10_transfer.get_cache_info()]
    found["listed"] = len(json.dumps(listed, ensure_ascii=False).encode())
    found["changed"] = sorted(
        name
        for name, status in {**_outside(store), **_outside(scratch)}.items()
        if before.get(name) != status
    )
    found["special"] = [
        name for name, status in snapshot(host.root).items() if status[0] & _SPECIAL
    ]
    tree = artifacts_of(host)
    tolerated = set(outcome.any_of)
    kept = {name: item for name, item in tree.items() if name not in tolerated}
    lines = differences(kept, {**compiled("good"), **outcome.extra})
    missing = "missing: " if outcome.displacing else "\n"
    found["wrong"] = [line for line in lines if not line.startswith(missing)]
    return found


def _outside(folder: Path) -> dict[str, tuple[int, ...]]:
    """Everything that a load has no business to change."""
    return {
        str(folder / name): status
        for name, status in snapshot(folder).items()
        if name.partition("/")[0] not in ("host", "")
    }


def _resident() -> float:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / (1 << 20)


if __name__ == "__main__":
    main()
