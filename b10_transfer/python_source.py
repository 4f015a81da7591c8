"""Parse Python text in a process with threads."""

from __future__ import annotations

import ast
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Literal

_ATTEMPTS = 5
_parsing = threading.Lock()


def parse_python(text: str, mode: Literal["exec", "eval"] = "exec") -> ast.AST:
    """Parse a module, or one expression.

    Two threads that parse at once can fail with SystemError in CPython 3.11, which counts the depth
    of both together (python/cpython#106905). Ours take turns; if another thread interferes, parsing
    is repeated.

    Raises:
        SyntaxError, ValueError, MemoryError, RecursionError: it cannot be parsed.
    """
    for _ in range(_ATTEMPTS - 1):
        with _parsing:
            try:
                return ast.parse(text, mode=mode)
            except SystemError:
                continue
    return ast.parse(text, mode=mode)
