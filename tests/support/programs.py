"""Programs of a host in processes of their own, to be looked at, stopped and killed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

SAVE = "import b10_transfer; print(b10_transfer.save(wait=False).status.name)"
LOAD = "import b10_transfer; print(b10_transfer.load().status.name)"

_SECONDS = 300.0


def run_python(
    code: str,
    variables: Mapping[str, str],
    *,
    seconds: float = _SECONDS,
    warnings: str = "error",
) -> subprocess.CompletedProcess[str]:
    """Run Python code to its end, which must come in time; warnings are errors by default."""
    return subprocess.run(
        [sys.executable, "-W", warnings, "-c", code],
        env=dict(variables),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@contextlib.contextmanager
def started_python(code: str, variables: Mapping[str, str]) -> Generator[subprocess.Popen[str]]:
    """Run Python code meanwhile; the process is killed at the end if it is still there."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=dict(variables),
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that `process` does; it must come before the process ends."""
    deadline = time.monotonic() + _SECONDS
    while not condition():
        if process.poll() is not None:
            out, err = process.communicate()
            raise AssertionError(f"the process ended first, with {process.returncode}: {out}{err}")
        if time.monotonic() > deadline:
            raise AssertionError("it never happened")
        time.sleep(0.0005)
