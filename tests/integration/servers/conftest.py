"""What the tests of servers share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_servers import free_port

if TYPE_CHECKING:
    from tests.support.sites import Host, Site


@pytest.fixture
def host(site: Site) -> Host:
    """A host of an empty store."""
    return site.host("one")


@pytest.fixture
def port() -> int:
    """A port that nobody listens on."""
    return free_port()
