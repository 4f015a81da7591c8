"""What the bench says while it works: beside its result, on the standard error."""

from __future__ import annotations

import sys


def tell(message: str) -> None:
    """Print a line for whoever waits."""
    print(f"bench: {message}", file=sys.stderr, flush=True)
