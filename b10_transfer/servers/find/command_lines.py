"""Which command lines start an inference server."""

from __future__ import annotations

import os
import re
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*(?:\.exe)?", re.IGNORECASE)
_OPTIONS_WITH_VALUE = frozenset({"-W", "-X", "--check-hash-based-pycs"})
_ALWAYS_SERVERS = {
    "vllm.entrypoints.openai.api_server": "vllm",
    "vllm.entrypoints.api_server": "vllm",
    "sglang.launch_server": "sglang",
    "sglang.srt.entrypoints.http_server": "sglang",
}
_SERVERS_WITH_SERVE = {
    "vllm": "vllm",
    "vllm.entrypoints.cli.main": "vllm",
    "sglang": "sglang",
    "sglang.cli.main": "sglang",
}
_ASKS_ONLY = frozenset({"-h", "--help"})


def server_kind(argv: Sequence[str]) -> str:
    """Return which server a command line starts: "vllm", "sglang", or "" for none.

    Launchers that only start a server and wait for it (`tini`, `sudo`, `uv run`, a shell, our own)
    do not count: the server itself is among their descendants.
    """
    name, rest = _program(argv)
    if any(item in _ASKS_ONLY or item.startswith("--help=") for item in rest):
        return ""
    if name in _ALWAYS_SERVERS:
        return _ALWAYS_SERVERS[name]
    return _SERVERS_WITH_SERVE.get(name, "") if rest[:1] == ("serve",) else ""


def _program(argv: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the program or Python module that a command line runs, and its arguments."""
    if not argv or not _PYTHON.fullmatch(os.path.basename(argv[0])):
        return _program_name(argv[0]) if argv else "", tuple(argv[1:])
    waiting = deque(argv[1:])
    while waiting:
        item = waiting.popleft()
        if item in _OPTIONS_WITH_VALUE and waiting:
            waiting.popleft()
        elif item == "-m" and waiting:
            return waiting.popleft(), tuple(waiting)
        elif item.startswith("-m"):
            return item[2:], tuple(waiting)
        elif item == "-" or item.startswith("-c"):
            break
        elif not item.startswith("-"):
            return _program_name(item), tuple(waiting)
    return "", ()


def _program_name(path: str) -> str:
    """Return the name of a program, or of a module that is run by its path."""
    stem, suffix = os.path.splitext(path)
    if suffix != ".py":
        return os.path.basename(stem if suffix.lower() == ".exe" else path)
    dotted = stem.replace("\\", "/").strip("/").replace("/", ".")
    names = [*_ALWAYS_SERVERS, *_SERVERS_WITH_SERVE]
    return next((name for name in names if "." in name and f".{dotted}".endswith(f".{name}")), "")
