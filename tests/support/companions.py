"""Companions of servers, in processes of their own beside them."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.fake_servers import running
from tests.support.waiting import SECONDS, eventually

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator, Mapping

    from tests.support.cache_trees import Tree
    from tests.support.fake_servers import FakeServer
    from tests.support.sites import Site

PROGRAM = Path(__file__).with_name("companion_program.py")


def companion_command(*flags: str, watch: str = "never") -> list[str]:
    """The command line of a companion."""
    return [sys.executable, str(PROGRAM), watch, *flags]


@dataclass(frozen=True, slots=True)
class Beside:
    """A companion beside a server, both started by one shell.

    Attributes:
        shell: the process of the shell, or what it became.
        folder: in which the companion leaves its output and exit code.
    """

    shell: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> str:
        """What the companion has logged."""
        file = self.folder / "log"
        return file.read_text() if file.exists() else ""

    @property
    def pid(self) -> int:
        """The companion's process, once it is there."""
        return int((self.folder / "pid").read_text())

    @property
    def is_over(self) -> bool:
        """Whether the companion has ended."""
        return (self.folder / "code").exists()

    def wait_for_log(self, text: str) -> None:
        """Wait until the companion has logged something."""
        eventually(lambda: text in self.log or self.is_over)
        assert text in self.log, self.log

    def result(self) -> dict[str, Any]:
        """What came of it, its exit code among it."""
        eventually(lambda: self.is_over, SECONDS)
        code = int((self.folder / "code").read_text())
        out = (self.folder / "out").read_text()
        assert out, self.log
        document: dict[str, Any] = json.loads(out)
        return {**document, "code": code}


@contextlib.contextmanager
def companion_beside(
    server: FakeServer,
    script: str,
    variables: Mapping[str, str],
    *flags: str,
    watch: str = "never",
) -> Generator[Beside]:
    """Run a shell script in which `COMPANION` is a companion and `SERVER` the start of a server.

    `DETACHED` is a companion in a session of its own. Everything else is killed at the end.
    """
    folder = server.folder / "companion"
    folder.mkdir(exist_ok=True)
    inner = shlex.join(companion_command(*flags, watch=watch))
    # The exit code is written by a shell around it, which is then the companion's parent.
    companion = (
        f"( {inner} >{folder}/out 2>{folder}/log & echo $! >{folder}/pid; wait $!;"
        f" echo $? >{folder}/code.new; mv {folder}/code.new {folder}/code )"
    )
    texts = {
        "COMPANION": companion,
        "DETACHED": f"setsid bash -c {shlex.quote(companion)}",
        "SERVER": shlex.join(server.command()),
    }
    text = re.sub("|".join(texts), lambda match: texts[match.group()], script)
    # Whatever goes wrong, no companion stays for long.
    bounded = {"B10_TRANSFER_TIMEOUT_S": "300", **server.variables(variables)}
    with running(["/bin/bash", "-c", text], bounded) as shell:
        yield Beside(shell, folder)


def assert_ended(beside: Beside, outcome: str, code: int) -> dict[str, Any]:
    """It must have ended so; returns the rest of what it said."""
    result = beside.result()
    assert (result["outcome"], result["code"]) == (outcome, code), (result, beside.log)
    return result


def stored_tree(site: Site) -> Tree:
    """What a new host gets."""
    new = site.host(f"new {time.time_ns()}")
    new.load()
    return new.tree()


def assert_nothing_stored(site: Site) -> None:
    """No save may have published anything, or left a part of it."""
    assert site.files("manifests") == []
    assert site.files("packs") == []
