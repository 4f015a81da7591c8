"""One replica of a model server: a process of its own, with folders of its own.

Used by the demo and by the integration tests. Everything a replica may see is set in its
environment; nothing of the caller's caches or settings reaches it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent
_TIME_LIMIT_SECONDS = 300.0

# Settings of the product and of the compilers: a value left in the caller's shell would change
# what a replica compiles, or where.
_FOREIGN_PREFIXES = (
    "B10",
    "BASETEN_",
    "LOCAL_WORK_DIR",
    "MAX_",
    "TORCH",
    "TRITON_",
    "VLLM_",
)


class ReplicaFailedError(Exception):
    """A replica's process ended with an error; the message carries what it printed."""


@dataclass(frozen=True, slots=True)
class Replica:
    """The folders of one replica.

    Attributes:
        store: The folder that all replicas share.
        cache_root: Where this replica's Inductor keeps its artifacts.
        home: HOME, working folder and scratch of this replica alone.
        host_temporary: TMPDIR. Inductor keeps a precompiled C++ header of about 150 MB in
            `$TMPDIR/torchinductor_<user>/precompiled_headers` whatever TORCHINDUCTOR_CACHE_DIR
            says, and builds it, some ten seconds, before it even looks for a compiled kernel.
            Replicas that share this folder, like processes of one host, build it once: where
            cold and warm are compared, it is charged to neither. What a load does about it shows
            in a replica with a folder of its own.
        user: LOGNAME and USER, after which torch names its default folders; None for the
            caller's.
    """

    store: Path
    cache_root: Path
    home: Path
    host_temporary: Path
    user: str | None = None

    def environment(self, **changes: str | None) -> dict[str, str]:
        """Return the environment of this replica's processes.

        Args:
            changes: Variables to set besides, or with None to leave out.
        """
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(_FOREIGN_PREFIXES)
        }
        own = {
            "BASETEN_FS_ENABLED": "1",
            "B10FS_CACHE_DIR": str(self.store),
            "TORCHINDUCTOR_CACHE_DIR": str(self.cache_root),
            "LOCAL_WORK_DIR": str(self.home / "work"),
            "HOME": str(self.home),
            "TMPDIR": str(self.host_temporary),
            "PYTHONPATH": os.pathsep.join([str(_CHECKOUT), str(_CHECKOUT / "store")]),
        }
        if self.user is not None:
            own |= {"LOGNAME": self.user, "USER": self.user}
        changed = {name: value for name, value in {**own, **changes}.items() if value is not None}
        left_out = {name for name, value in changes.items() if value is None}
        return {name: value for name, value in {**kept, **changed}.items() if name not in left_out}

    def run(self, module: str, request: str, **changes: str | None) -> str:
        """Run a module in a new process of this replica and return the last line it printed.

        Args:
            module: The name of a module below the checkout, as for `python -m`.
            request: The one argument of the process.
            changes: Variables of the environment, as for `environment`.

        Raises:
            ReplicaFailedError: The process failed, printed nothing or took over five minutes.
        """
        for folder in (self.store, self.home, self.home / "work", self.host_temporary):
            folder.mkdir(parents=True, exist_ok=True)
        try:
            process = subprocess.run(
                [sys.executable, "-m", module, request],
                cwd=self.home,
                env=self.environment(**changes),
                capture_output=True,
                text=True,
                timeout=_TIME_LIMIT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ReplicaFailedError(
                f"{module} took over {_TIME_LIMIT_SECONDS:.0f} s\n{error.stderr!r}"
            ) from error
        lines = process.stdout.splitlines()
        if process.returncode != 0 or not lines:
            raise ReplicaFailedError(
                f"{module} ended with {process.returncode}\n{process.stdout}\n{process.stderr}"
            )
        return lines[-1]


def artifacts_below(cache_root: Path) -> dict[str, tuple[int, int, int]]:
    """Map each artifact below a cache root to what changes when a compiler writes it again.

    Lock files and the local record are no artifacts. Absent folders have none.

    Returns:
        Relative path -> (inode, size in bytes, mtime in nanoseconds).
    """
    found: dict[str, tuple[int, int, int]] = {}
    for folder, folders, files in os.walk(cache_root):
        folders[:] = [name for name in folders if name not in {"locks", ".b10_transfer"}]
        for name in files:
            path = Path(folder, name)
            status = path.lstat()
            found[path.relative_to(cache_root).as_posix()] = (
                status.st_ino,
                status.st_size,
                status.st_mtime_ns,
            )
    return found


def written_since(before: dict[str, tuple[int, int, int]], cache_root: Path) -> tuple[str, ...]:
    """Return the artifacts which are new or were written again since `before`, sorted."""
    after = artifacts_below(cache_root)
    return tuple(sorted(path for path, mark in after.items() if before.get(path) != mark))
