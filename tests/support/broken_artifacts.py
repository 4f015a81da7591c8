"""Artifacts that are not whole, in the store as an older saver left them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest import mock

from b10_transfer.caches.file_forms import FormCheck

if TYPE_CHECKING:
    from b10_transfer.caches.kinds import RootKind
    from b10_transfer.operations.reports import SaveReport
    from tests.support.sites import Host


class _NoCheck(FormCheck):
    def flaw(self) -> str:
        return ""


def _unchecked(_: RootKind, path: str) -> FormCheck:
    return _NoCheck(path, None)


def save_carelessly(host: Host) -> SaveReport:
    """Save what is not whole too; no host can without a change to the product's own rules."""
    with mock.patch("b10_transfer.caches.artifacts.check_of", _unchecked):
        return host.save()
