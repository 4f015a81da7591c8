"""The FORMAT file of a store: which release may touch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.format.names import FORMAT_FILE, check_format_line, format_line
from b10_store.remote.protocol import read_bounded

if TYPE_CHECKING:
    from b10_store.remote.protocol import Remote


def check_format(remote: Remote) -> bool:
    """Whether the store has an intact FORMAT file of this release's version.

    Returns:
        False when there is none, or a damaged one; the other files name their format themselves.

    Raises:
        UnsupportedFormatError: the store is of another version.
        OSError: the store cannot be read.
    """
    try:
        return check_format_line(read_bounded(remote, FORMAT_FILE, 1 << 10))
    except FileNotFoundError:
        return False


def write_format(remote: Remote) -> None:
    """Write the FORMAT file where it is missing or damaged. Raises as `check_format`."""
    if not check_format(remote):
        remote.create("", FORMAT_FILE, [format_line()])
