"""Sessions as tests open them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from b10_store.remote.protocol import Remote
from b10_store.save.session import Session

Opened: TypeAlias = Callable[[Remote], Session]
"""Opens a session of the usual address; it is abandoned at the end of the test."""
