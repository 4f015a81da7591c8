"""Take each protection out of the code, one by one, and see whether a test fails.

Works in a copy of the working tree; the tests that are named for a protection are run on the copy
without it, up to the first that fails. Ends with 1 when no test noticed, and with 2 when the table
(`tools/protections.py`) no longer fits the code.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tools.protections import PROTECTIONS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tools.protections import Protection

ROOT = Path(__file__).resolve().parent.parent
_SECONDS = 600.0
_PYTEST = ("-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not torch")


def main() -> int:
    """Run the program; returns its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    what = "only protections whose name has one of these, or that keep such an invariant: I5"
    parser.add_argument("names", nargs="*", help=what)
    parser.add_argument("--list", action="store_true", help="print the names, and do nothing")
    options = parser.parse_args()
    chosen = [
        item
        for item in PROTECTIONS
        if not options.names or any(_is_meant(item, name) for name in options.names)
    ]
    if options.list:
        _print("\n".join(item.name for item in chosen))
        return 0
    lines = misfits(chosen)
    if lines:
        _print("\n".join(lines))
        return 2
    with tempfile.TemporaryDirectory(prefix="b10-protections-") as folder:
        copy = Path(folder, "copy")
        _copy_tree(copy)
        tests = tuple(dict.fromkeys(name for item in chosen for name in item.tests))
        failing = [name for name in tests if _failed_on((name,), copy)]
        if failing:
            _print(f"with everything in its place there are failures in {', '.join(failing)}")
            return 2
        unnoticed = [item.name for item in chosen if not _is_noticed(item, copy)]
    _print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} are noticed when they are missing")
    return 1 if unnoticed else 0


def _is_meant(item: Protection, name: str) -> bool:
    """Whether a name on the command line means a protection: a part of its name, or `I5`."""
    return name == item.invariant or name in item.name


def misfits(protections: Iterable[Protection]) -> list[str]:
    """What a table of protections expects of the code and is not so, a line each."""
    return [line for item in protections for line in _misfits_of(item)]


def _misfits_of(item: Protection) -> list[str]:
    lines: list[str] = []
    for edit in item.edits:
        count = (ROOT / edit.file).read_text().count(edit.before)
        if count != 1:
            lines.append(f"{item.name}: {edit.file} has {edit.before!r} {count} times")
    return lines + [
        f"{item.name}: there is no {name}" for name in item.tests if not (ROOT / name).exists()
    ]


def _copy_tree(copy: Path) -> None:
    """The working tree as git sees it, with what is not committed yet."""
    git = shutil.which("git")
    if git is None:
        raise RuntimeError("git is needed, to know which files belong to the working tree")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout
    for name in sorted({os.fsdecode(name) for name in listed.split(b"\0") if name}):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def _is_noticed(item: Protection, copy: Path) -> bool:
    began = time.monotonic()
    whole = {edit.file: (copy / edit.file).read_text() for edit in item.edits}
    try:
        for edit in item.edits:
            path = copy / edit.file
            path.write_text(path.read_text().replace(edit.before, edit.after))
        failed = _first_failure(item.tests, copy)
    finally:
        for file, text in whole.items():
            (copy / file).write_text(text)
    mark = "noticed  " if failed else "UNNOTICED"
    _print(f"{mark} {item.name} ({time.monotonic() - began:.0f} s)")
    if failed:
        _print(f"          {failed}")
    return failed is not None


def _first_failure(tests: tuple[str, ...], copy: Path) -> str | None:
    output = _failed_on(tests, copy)
    if not output:
        return None
    found = re.search(r"^FAILED (.+?)(?: - .*)?$", output, re.MULTILINE)
    if found is None:
        # Code that cannot even be imported shows nothing about the tests.
        raise RuntimeError(f"no test failed, and pytest ended so: {output[-2000:]}")
    return found.group(1)


def _failed_on(tests: tuple[str, ...], copy: Path) -> str:
    """What pytest printed, up to the first test that fails; "" when none does."""
    done = subprocess.run(
        [sys.executable, *_PYTEST, *tests],
        cwd=copy,
        # For processes that tests start, too: the environment's own path leads to the original.
        env={**os.environ, "PYTHONPATH": f"{copy}{os.pathsep}{copy / 'store'}"},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    return done.stdout if done.returncode else ""


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
