"""The FORMAT file of a store, which says which release may touch it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from b10_store.errors import UnsupportedFormatError
from b10_store.format.names import FORMAT_FILE, check_format_line, format_line
from b10_store.remote.protocol import is_no_file, read_bounded

if TYPE_CHECKING:
    from b10_store.remote.protocol import Remote


def check_format(remote: Remote) -> bool:
    """Return whether the store has an intact FORMAT file of this release's version.

    Returns:
        False when there is none, or a damaged one; the other files name their format themselves.

    Raises:
        UnsupportedFormatError: the store has another version, or something else is in place of the
            file.
        OSError: the store cannot be read.
    """
    try:
        return check_format_line(read_bounded(remote, FORMAT_FILE, 1 << 10))
    except FileNotFoundError:
        return False
    except UnsupportedFormatError as error:
        raise UnsupportedFormatError(f"{error}: {_way_out(remote)}") from error
    except OSError as error:
        if not is_no_file(error):
            raise
        what = f"{FORMAT_FILE} in the store is not a regular file"
        raise UnsupportedFormatError(f"{what}: {_way_out(remote)}") from error


def _way_out(remote: Remote) -> str:
    """Return what to do: anybody who can write to a store can replace its FORMAT by anything."""
    owner = -1
    with contextlib.suppress(OSError):
        owner = remote.stat(FORMAT_FILE).owner
    whose = f", which belongs to uid {owner}" if owner >= 0 else ""
    return (
        "use the release that wrote it, or another B10FS_CACHE_DIR; if no host has another "
        f"release, remove {FORMAT_FILE}{whose}, and the next save writes it"
    )


def write_format(remote: Remote) -> None:
    """Write the FORMAT file if it is missing or damaged. Raises like `check_format`."""
    if not check_format(remote):
        remote.create("", FORMAT_FILE, [format_line()])
