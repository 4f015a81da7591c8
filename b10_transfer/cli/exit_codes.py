"""The exit codes of commands; the same for every command."""

from __future__ import annotations

DONE = 0
"""The command is done, or there was nothing to do."""

PROBLEMS = 1
"""The command ran, and found something that is not in order."""

USAGE = 2
"""Arguments or settings are not acceptable; nothing was done."""

NOT_STORED = 3
"""Nothing is stored for this environment, or for what the user named."""

FAILED = 4
"""The command could not be carried out: no store, no space, the cache is off."""

NOT_READY = 5
"""The server did not get ready in time."""

SERVER_ENDED = 6
"""The server ended before it was ready."""

INTERRUPTED = 130
"""The command was interrupted by Ctrl-C."""

TERMINATED = 143
"""The command was ended by SIGTERM."""
