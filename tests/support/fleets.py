"""Hosts of one site with signing keys, and what they and others published there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.cache_trees import compiled_graph

if TYPE_CHECKING:
    from pathlib import Path

    from b10_transfer import LoadReport, SaveReport
    from tests.support.cache_trees import Tree
    from tests.support.sites import Host, Site

FLEET_KEY = "the secret of the fleet"
"""What every host has that has a key."""

OLD_KEY = "the secret before this one"
STRANGE_KEY = "a secret of somebody else"

GOOD = compiled_graph("good model")
MORE = compiled_graph("another good model", 1)
POISON = dict.fromkeys(GOOD, b"poison") | {"zz/czz.py": b"import poison"}


class Fleet:
    """Hosts of one site, by whether and which key they have."""

    def __init__(self, site: Site) -> None:
        """No host yet."""
        self.site = site
        self._count = 0

    def host(self, tree: Tree | None = None) -> Host:
        """Another host."""
        self._count += 1
        return self.site.host(f"host {self._count}", tree)

    def save(self, tree: Tree, key: str | None = FLEET_KEY, **changes: str | None) -> SaveReport:
        """A new host with these files saves."""
        return self.host(tree).save(wait=True, B10_CACHE_SIGNING_KEY=key, **changes)

    def load(self, key: str | None = FLEET_KEY, **changes: str | None) -> tuple[LoadReport, Tree]:
        """A new host loads: what it says, and what it then has."""
        host = self.host()
        report = host.load(B10_CACHE_SIGNING_KEY=key, **changes)
        return report, host.tree()

    def manifests(self) -> list[Path]:
        """The manifests of the store, oldest first."""
        return sorted(self.site.files("manifests"), key=lambda path: path.name.partition("~")[2])


def assert_refused(report: LoadReport | SaveReport, path: Path, reason: str) -> None:
    """It was reported by name, and counted, and the line for the log has the count."""
    assert report.refused == 1
    assert any(path.name in line and reason in line for line in report.problems)
    assert "1 manifest refused" in str(report)
