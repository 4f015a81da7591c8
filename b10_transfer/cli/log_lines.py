"""The package's log while a command runs, as lines on standard error."""

from __future__ import annotations

import contextlib
import json
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from b10_transfer.cli.console import Console

_PACKAGE = "b10_transfer"


def shown_level(options: argparse.Namespace, *, is_chatty: bool) -> int:
    """Return the lowest level of the log that is shown.

    Args:
        options: the options of the command.
        is_chatty: whether the command shows successes without being asked to.
    """
    if options.verbose:
        return logging.DEBUG
    if options.quiet:
        return logging.ERROR
    return logging.INFO if is_chatty else logging.WARNING


@contextlib.contextmanager
def showing_log(console: Console, level: int, *, as_json: bool) -> Generator[None]:
    """Show the log while the block runs.

    Args:
        console: where to write.
        level: the lowest level to show.
        as_json: write one JSON object per line: level, message and time in seconds since the epoch.
    """
    logger = logging.getLogger(_PACKAGE)
    before = logger.level
    handler = _Handler(console, as_json=as_json)
    logger.addHandler(handler)
    logger.setLevel(level)
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
