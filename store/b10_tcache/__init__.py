"""The older import name of `b10_transfer`: the same names, and nothing else."""

from typing import TYPE_CHECKING

import b10_transfer

if TYPE_CHECKING:
    from b10_transfer import *  # noqa: F403

__all__: list[str] = []
__all__ += b10_transfer.__all__


def __getattr__(name: str) -> object:
    """Leave to `b10_transfer` when it imports what a name needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(b10_transfer, name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted(__all__)
