"""A store in memory that hosts save to, that is damaged, and that is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from b10_store.store import Store
from b10_store.testing.places import MemoryPlace
from tests.support.blobs import prose
from tests.support.engine_hosts import Hosts
from tests.support.wrapped_remote import WrappedRemote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from b10_store.check.check import CheckReport
    from b10_store.format.keys import SigningKey
    from b10_store.format.names import Address
    from b10_store.manifests.problem import Problem
    from b10_store.remote.protocol import FileStat, Range, Remote
    from tests.support.engine_hosts import EngineHost

TREE = {f"a{number}/{number}.py": prose(3000, number) for number in range(4)}


class CheckedStore:
    """One store, and what a test does to it."""

    def __init__(self, folder: Path) -> None:
        """An empty one; what is local lies in `folder`."""
        self._scratch = folder / "check"
        self._scratch.mkdir()
        self.place = MemoryPlace()
        self.remote = self.place.remote
        self.hosts = Hosts(folder, self.remote)

    def save(self, address: Address, key: SigningKey | None = None, number: int = 0) -> EngineHost:
        """A host that saved a tree, which differs with the number; one manifest and one pack."""
        host = self.hosts.new(address=address, key=key)
        host.write({path: data + b"%d" % number for path, data in TREE.items()}).save()
        return host

    def check(
        self, remote: Remote | None = None, keys: tuple[SigningKey, ...] = (), **options: Any
    ) -> CheckReport:
        """Check it."""
        return Store(remote or self.remote, str(self._scratch), keys).check(**options)

    def faults(self, remote: Remote | None = None, **options: Any) -> list[tuple[str, str]]:
        """The name and the kind of each fault that is found."""
        return [kind_of(fault) for fault in self.check(remote, **options).faults]

    def in_folder(self, folder: str) -> list[str]:
        """The files below a folder, sorted."""
        return sorted(name for name in self.place.names() if name.startswith(f"{folder}/"))

    def get(self, name: str) -> bytes:
        """The content of a file that is there."""
        data = self.place.get(name)
        assert data is not None, name
        return data

    def files(self) -> dict[str, bytes]:
        """Every file, with its content."""
        return {name: self.get(name) for name in self.place.names()}

    def move(self, name: str, target: str) -> None:
        """Give a file another name."""
        self.remote.rename(name, target)


class Misreading(WrappedRemote):
    """Changes what is read of some files, a few times."""

    def __init__(
        self, inner: Remote, part: str, times: int, change: Callable[[bytes], bytes]
    ) -> None:
        """Change each of the first `times` readings of a file that has `part` in its name."""
        super().__init__(inner)
        self._part = part
        self._change = change
        self.left = times

    def read(self, name: str, ranges: Sequence[Range]) -> Iterator[bytes]:
        """See `Remote.read`."""
        wrong = self._part in name and self.left > 0
        self.left -= wrong
        for data in self.inner.read(name, ranges):
            yield self._change(data) if wrong else data


class Shrinking(WrappedRemote):
    """Says of some files that they are shorter than they are, a few times."""

    def __init__(self, inner: Remote, part: str, times: int) -> None:
        """Be wrong the first `times` times about a file that has `part` in its name."""
        super().__init__(inner)
        self._part = part
        self.left = times

    def stat(self, name: str) -> FileStat:
        """See `Remote.stat`."""
        found = self.inner.stat(name)
        if self._part in name and self.left > 0:
            self.left -= 1
            return found._replace(size=found.size - 1)
        return found


def kind_of(fault: Problem) -> tuple[str, str]:
    """The name of the file, and the kind of its damage."""
    return fault.name, fault.damage.name


def flipped(data: bytes) -> bytes:
    """The bytes with one bit in the middle changed."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]
