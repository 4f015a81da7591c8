"""What the package logs while a command runs, as lines on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from b10_transfer.cli.console import Console

_PACKAGE = "b10_transfer"


@contextlib.contextmanager
def showing_log(console: Console, *, is_chatty: bool, as_json: bool) -> Generator[None]:
    """Show the log while the block runs.

    Args:
        console: where to.
        is_chatty: whether what goes well is told too, and not warnings alone.
        as_json: with `is_chatty`, one JSON object a line: level, message and time, in seconds since
            the epoch.
    """
    logger = logging.getLogger(_PACKAGE)
    before = logger.level
    handler = _Handler(console, as_json=as_json and is_chatty)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO if is_chatty else logging.WARNING)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Handler(logging.Handler):
    def __init__(self, console: Console, *, as_json: bool) -> None:
        super().__init__()
        self._console = console
        self._as_json = as_json

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            if self._as_json:
                fields = {
                    "time": record.created,
                    "level": record.levelname.lower(),
                    "message": text,
                }
                self._console.explain(json.dumps(fields))
            else:
                first, *others = text.split("\n")
                self._console.note(first)
                for line in others:
                    self._console.explain(line)
        except (OSError, ValueError):
            self.handleError(record)
