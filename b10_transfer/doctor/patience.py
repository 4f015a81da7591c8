"""How long `doctor` waits for an answer."""

from __future__ import annotations

ANSWER_SECONDS = 10.0
"""A mount that takes longer for all its steps is considered to hang."""

THREAD = "b10-doctor"


def no_answer() -> str:
    """Return the words for a missing answer."""
    return f"did not answer within {ANSWER_SECONDS:.0f} s"
