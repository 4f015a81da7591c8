"""Reads databases in a process of its own, as LMDB may kill the one that it is in.

To be started as a program: `python -m tests.support.database_reader`; takes bytes with their length
before them, and answers each time with one line.
"""

from __future__ import annotations

import signal
import struct
import subprocess
import sys
import tempfile
from typing import IO

from b10_store.errors import CorruptError, LimitError
from b10_store.format.manifest_table import read_database
from tests.support.sites import CHECKOUT

_LENGTH = struct.Struct("<Q")
_SECONDS = 300


class DatabaseReader:
    """A process that reads one database after the other; started again when one was its last."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, raw: bytes) -> str:
        """Read a database.

        Returns:
            "read", or the name of the error that refused it.

        Raises:
            AssertionError: the process died, or raised something else.
        """
        if self._process is None:
            self._process = _start()
        to, answers = _pipes(self._process)
        to.write(_LENGTH.pack(len(raw)) + raw)
        to.flush()
        answer = answers.readline().decode().strip()
        if not answer:
            status = self._process.wait()
            self.close()
            raise AssertionError(f"reading it ended the process with {status}")
        return answer

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            for pipe in _pipes(self._process):
                pipe.close()
            self._process.wait()
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.database_reader"],
        cwd=CHECKOUT,
        env={"PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'store'}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout


def main() -> None:
    """Answer until there is nothing more to read."""
    with tempfile.TemporaryDirectory() as scratch:
        while head := sys.stdin.buffer.read(_LENGTH.size):
            raw = sys.stdin.buffer.read(_LENGTH.unpack(head)[0])
            signal.alarm(_SECONDS)
            try:
                read_database(raw, scratch)
            except (CorruptError, LimitError) as error:
                answer = type(error).__name__
            else:
                answer = "read"
            signal.alarm(0)
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
