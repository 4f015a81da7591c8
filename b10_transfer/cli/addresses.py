"""The environment and namespace that a typed text means."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from b10_transfer.cli.call import NotStoredError
from b10_transfer.errors import CacheError, CacheValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from b10_store import Address
    from b10_transfer.settings import Settings

_NAMED = 8
_CLOSE = 3


def find_address(
    text: str, known: Sequence[Address], *, namespace: str | None = None, where: str = "stored"
) -> Address:
    """Return the known address that begins with a text; the namespace must be given in full.

    Args:
        text: the key or its first digits, and the namespace after a dot.
        known: the addresses to choose from.
        namespace: the namespace when the text has none.
        where: where the known addresses are, for the message.

    Raises:
        NotStoredError: there is none.
        CacheValidationError: there are several.
    """
    key, dot, given = text.partition(".")
    wanted = given if dot or namespace is None else namespace
    found = [
        address
        for address in known
        if address.environment_key.startswith(key) and address.namespace == wanted
    ]
    if len(found) == 1 and key:
        return found[0]
    if not found:
        there = _named([str(address) for address in known], text) or "nothing"
        raise NotStoredError(f"there is no {text!r} {where}; there is: {there}")
    matching = _named([str(address) for address in found], text)
    raise CacheValidationError(f"{text!r} could be any of: {matching}")


def own_address(settings: Settings) -> Address | None:
    """Return the address of this machine; None when it cannot be found out."""
    from b10_store import Address, StoreError
    from b10_transfer.machine.environment import Environment

    try:
        return Address(Environment.detect(settings.variables).key, settings.namespace)
    except (OSError, StoreError, CacheError):
        return None


def _named(addresses: list[str], text: str) -> str:
    """Name the addresses when they are few, else those that look like the text."""
    if len(addresses) <= _NAMED:
        return ", ".join(addresses)
    close = get_close_matches(text, addresses, n=_CLOSE, cutoff=0.4)
    others = f"{len(addresses) - len(close)} {'more' if close else 'others'}"
    return ", ".join([*close, f"{others}, which `b10-transfer list` shows"])
