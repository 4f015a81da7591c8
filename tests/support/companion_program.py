"""What `b10-compile-cache` does, at a pace for tests; prints what came of it as JSON."""

from __future__ import annotations

import json
import logging
import signal
import sys
import threading

from b10_transfer.servers.follow.companion import accompany
from b10_transfer.servers.options import ServerOptions
from b10_transfer.servers.saving import Pace
from b10_transfer.settings import Settings

PACE = Pace(settle=0.2, settle_limit=5.0, settle_look=0.1, look=0.2, longest_look=0.4)


def main(watch: str, *flags: str) -> int:
    """Keep a server company.

    Args:
        watch: "always", "never" or "default".
        flags: `--url`, `--timeout` and `--interval`, each with its value.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    settings = Settings.from_environment()
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    options = ServerOptions.read(
        settings.variables,
        url=given.get("--url"),
        timeout=given.get("--timeout"),
        interval=given.get("--interval", "0.1"),
        watch={"always": True, "never": False, "default": None}[watch],
    )
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda _signal, _frame: stop.set())
    report = accompany(settings, options, stop, pace=PACE)
    document = {
        "outcome": report.outcome.name,
        "loaded": [item.loaded for item in report.loads],
        "added": [item.added for item in report.saves],
        "errors": report.errors,
    }
    print(json.dumps(document), flush=True)  # noqa: T201  # a program for tests to read
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
