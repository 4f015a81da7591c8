"""Read sealed files, only as far as their seal covers them.

First the 216 bytes with the seal are read. If the seal is right, as many bytes as it declares
follow, and at most one step more, which shows a file that is too long. A file that declares more
than the budget of an operation is not read either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_store.errors import StoreError
from b10_store.format.seal import BODY_LIMIT, HEADER_LIMIT, PREFIX_LIMIT, open_prefix
from b10_store.remote.protocol import Range

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store.format.keys import Key
    from b10_store.format.reading_budget import ReadingBudget
    from b10_store.remote.protocol import Remote

_STEP = 4 << 20
_LIMIT = PREFIX_LIMIT + HEADER_LIMIT + BODY_LIMIT
_RANGES = [
    Range(0, PREFIX_LIMIT),
    *(Range(start, _STEP) for start in range(PREFIX_LIMIT, _LIMIT + 1, _STEP)),
]


def read_sealed(
    remote: Remote, name: str, keys: Sequence[Key] = (), budget: ReadingBudget | None = None
) -> bytes:
    """Read a sealed file.

    Args:
        remote: the store.
        name: the file's name.
        keys: see `seal.open_prefix`.
        budget: the budget of the operation; by default there is no limit.

    Returns:
        The whole file; if its seal is wrong, only the first bytes, which the decoder refuses.

    Raises:
        OSError: it cannot be read.
        BudgetError: it is larger than the rest of the budget.
    """
    steps = remote.read(name, _RANGES)
    parts = [next(steps)]
    try:
        prefix = open_prefix(parts[0], keys)
    except StoreError:
        if budget is not None:
            budget.take("strange files", 1)
        return parts[0]
    wanted = prefix.size + prefix.header_length + prefix.body_length
    if budget is not None:
        budget.take("files", 1)
        budget.take("bytes", wanted)
    length = len(parts[0])
    # One byte too many shows that the file is too long, and an empty step that it ended.
    while length <= wanted and (part := next(steps, b"")):
        parts.append(part)
        length += len(part)
    return b"".join(parts)
