"""A server that is restarted again and again and leaves something new each time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from b10_store.format.names import Address
from b10_store.remote.folder import FolderRemote
from b10_store.save.plan import SMALL_PACK_LIMIT
from b10_store.save.variants import GROUP_LIMIT
from b10_store.store import Store
from tests.support.cache_trees import Tree, compiled_graph, noise
from tests.support.counted_stores import counted_stores
from tests.support.earlier import hours_ago
from tests.support.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

    from b10_store.format.manifest import Manifest
    from b10_transfer.operations.reports import SaveReport
    from tests.support.sites import Host

RESTARTS = 100
MODEL = f"ab/{'ab' * 26}.model"
MODEL_SIZE = 200_000
GROUP = "aotautograd/akey"
MEMBER_SIZE = 400
REST = {**compiled_graph("first"), **compiled_graph("second")}
WHOLE_SIZE = MODEL_SIZE + GROUP_LIMIT * MEMBER_SIZE + sum(map(len, REST.values()))


def model_of(start: int) -> bytes:
    return noise(MODEL_SIZE, start)


def member_of(start: int) -> Tree:
    """A new variant, named by its content."""
    data = noise(MEMBER_SIZE, start)
    return {f"{GROUP}/{hashlib.sha256(data).hexdigest()}": data}


@dataclass
class Server:
    """A server of which every start rewrites one artifact and adds one.

    Attributes:
        site: its store.
        problems: of the loads.
        reports: of the saves.
        manifests: the newest one after each save.
    """

    site: Site
    problems: list[str] = field(default_factory=list[str])
    reports: list[SaveReport] = field(default_factory=list["SaveReport"])
    manifests: list[Manifest] = field(default_factory=list["Manifest"])

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len(self.reports)

    def start(self, host: Host) -> None:
        """Load, compile, save; the first start finds nothing."""
        self.problems += host.load().problems
        host.write({MODEL: model_of(self.starts), **member_of(self.starts)})
        if not self.starts:
            host.write(REST)
        self.reports.append(host.save())
        store = Store(FolderRemote(str(self.site.store)), str(self.site.folder))
        (head,) = store.heads(Address(self.reports[0].environment_key)).manifests
        self.manifests.append(head)

    @property
    def uploaded(self) -> int:
        """Bytes of all packs that were ever written."""
        return sum(report.uploaded_bytes for report in self.reports)

    @property
    def superseded(self) -> list[int]:
        """The starts whose model took the place of an earlier one."""
        return [start for start, report in enumerate(self.reports) if report.superseded]


@pytest.fixture(scope="module", params=["the same folder", "a fresh folder each time"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Server:
    """Restarted a hundred times within a minute."""
    site = Site(tmp_path_factory.mktemp("restarts"))
    found = Server(site)
    for start in range(RESTARTS):
        found.start(site.host(f"host {start}" if request.param.startswith("a") else "host"))
    assert found.problems == []
    return found


def assert_manifests_are_bounded(server: Server) -> None:
    for start, manifest in enumerate(server.manifests):
        members = [path for _, path, _ in manifest.entries if path.startswith(GROUP + "/")]
        assert len(members) == min(start + 1, GROUP_LIMIT)
        assert len(manifest.entries) == len(members) + len(REST) + 1
        # The packs to be put together, the one of what changed here, and the new one.
        assert len(manifest.packs) <= SMALL_PACK_LIMIT + 2
        assert sum(pack.size for pack in manifest.packs.values()) < 10 * MODEL_SIZE
        assert server.reports[start].stored_bytes < 1.1 * WHOLE_SIZE


def assert_load_is_cheap_and_right(
    server: Server, monkeypatch: pytest.MonkeyPatch, *, kept: range
) -> None:
    """`kept`: the starts whose variants are there; the model is that of the last to supersede."""
    loader = server.site.host("loader")
    remotes = counted_stores(monkeypatch)
    report = loader.load()
    assert (report.unavailable, report.problems) == (0, ())
    packs = remotes[-1].read_in("packs")
    assert len(packs) == len(set(packs)) == len(server.manifests[-1].packs)
    assert len(remotes[-1].read_in("manifests")) == 1
    assert len(remotes[-1].calls) <= 12 + 2 + len(packs)
    found = loader.tree()
    assert found.pop(MODEL) == model_of(server.superseded[-1])
    members = {path: data for start in kept for path, data in member_of(start).items()}
    assert found == {**REST, **members}


def test_quick_restarts_leave_manifests_that_do_not_grow(server: Server) -> None:
    assert_manifests_are_bounded(server)


def test_after_quick_restarts_a_load_is_cheap_and_brings_what_they_left(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No start finds the variant of another: what fills the group first stays for a while.
    assert_load_is_cheap_and_right(server, monkeypatch, kept=range(GROUP_LIMIT))


def test_what_quick_restarts_upload_is_not_the_artifact_each_time(server: Server) -> None:
    assert server.superseded[:2] == [1, 2], "at first, what was rebuilt is superseded at once"
    assert server.uploaded < 10 * MODEL_SIZE


# Over hours and days.


def started_apart(site: Site, starts: int, hours: float) -> Server:
    """A server with so much time between its starts, each in a fresh folder."""
    server = Server(site)
    for start in range(starts):
        with hours_ago((starts - start) * hours):
            server.start(site.host(f"host {start}"))
    assert server.problems == []
    return server


def test_hourly_restarts_supersede_ever_more_rarely_but_never_for_the_last_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = started_apart(Site(tmp_path), 40, hours=1.05)
    assert_manifests_are_bounded(server)
    assert len(server.superseded) <= 10
    assert server.superseded[-1] > server.starts / 3
    newest = range(server.starts - GROUP_LIMIT, server.starts)
    assert_load_is_cheap_and_right(server, monkeypatch, kept=newest)


def test_an_artifact_that_is_rebuilt_daily_is_superseded_daily_for_a_week(tmp_path: Path) -> None:
    server = started_apart(Site(tmp_path), 8, hours=24)
    assert server.superseded == list(range(1, 8))


@pytest.mark.slow
def test_a_thousand_quick_restarts_leave_no_more_than_a_hundred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    server, host = Server(site), site.host("host")
    for _ in range(10 * RESTARTS):
        server.start(host)
    assert server.problems == []
    assert_manifests_are_bounded(server)
    assert_load_is_cheap_and_right(server, monkeypatch, kept=range(GROUP_LIMIT))
    assert server.uploaded < 10 * MODEL_SIZE
