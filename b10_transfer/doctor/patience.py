"""How long `doctor` waits for what may hang."""

from __future__ import annotations

ANSWER_SECONDS = 10.0
"""A mount that takes longer for all that is asked of it at once is one that hangs."""

THREAD = "b10-doctor"


def no_answer() -> str:
    """Say that there was no answer."""
    return f"did not answer within {ANSWER_SECONDS:.0f} s"
