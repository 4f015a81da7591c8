"""Text from elsewhere, made safe for a terminal or a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

LINE_LIMIT = 20_000
"""The most characters of a line in the log."""


def printable(text: str) -> str:
    """Spell out characters that would move a terminal's cursor, begin another line, or worse.

    Names of files and fields of a manifest come from whoever can write to the store.
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def spell_out(record: logging.LogRecord) -> bool:
    """Make a log record one line of limited length; a filter for a logger."""
    text = printable(record.getMessage())
    if len(text) > LINE_LIMIT:
        text = f"{text[:LINE_LIMIT]} ... ({len(text)} characters)"
    record.msg, record.args = text, None
    return True
