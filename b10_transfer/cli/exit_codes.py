"""The exit codes of commands; the same for every command."""

from __future__ import annotations

DONE = 0
"""Done, or there was nothing to do."""

PROBLEMS = 1
"""The command was carried out, and what it looked at is not in order."""

USAGE = 2
"""Arguments or settings that are not acceptable; nothing was done."""

NOT_STORED = 3
"""Nothing is stored for this environment, or there is no such thing as was asked for."""

FAILED = 4
"""The command could not be carried out: no store, no space, the cache is off."""

NOT_READY = 5
"""The server did not get ready in time."""

SERVER_ENDED = 6
"""The server ended before it was ready."""

INTERRUPTED = 130
"""Ctrl-C."""

TERMINATED = 143
"""SIGTERM."""
