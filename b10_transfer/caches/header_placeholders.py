"""Empty files in place of precompiled headers, so that a warm start builds none.

Before Inductor looks for a compiled kernel, it precompiles the header that its kernels include,
unless a `.gch` lies beside the header's text (torch/_inductor/codecache.py, CppCodeCache.load_async
and _precompile_header). That takes 150 MB and many seconds, for nothing when every kernel is there.
Inductor only asks whether the file exists, and gcc ignores an empty one, so a missing kernel is
compiled without it: correctly, but two to three times as slowly. So placeholders are for hosts
where the real header is not available, or not wanted.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

from b10_store import open_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

_SUFFIX = ".gch"


def plant_placeholders(folder: str, headers: Iterable[str]) -> None:
    """Put an empty `.gch` beside the text of each header that has none.

    A failure only means that a header is built.

    Args:
        folder: the cache root.
        headers: the names of headers' texts in it; a missing text gets no placeholder.
    """
    with contextlib.suppress(OSError), open_folder(folder) as root:
        for name in headers:
            with contextlib.suppress(OSError):
                if stat.S_ISREG(root.stat(name).st_mode):
                    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                    empty = root.at(name + _SUFFIX)
                    os.close(os.open(empty, flags, 0o666, dir_fd=root.handle))


def remove_placeholders(folder: str, precompiled: Iterable[str]) -> None:
    """Remove the placeholders of precompiled headers that are about to be loaded.

    Args:
        folder: the cache root.
        precompiled: the names of precompiled headers in it.
    """
    with contextlib.suppress(OSError), open_folder(folder) as root:
        for name in precompiled:
            with contextlib.suppress(OSError):
                if name.endswith(_SUFFIX) and root.stat(name).st_size == 0:
                    os.unlink(root.at(name), dir_fd=root.handle)
