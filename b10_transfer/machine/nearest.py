"""The nearest environments with something stored, to explain why one has nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from b10_transfer.machine.environment import Difference, diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store import Address, Header
    from b10_transfer.machine.environment import Environment


class Nearest(NamedTuple):
    """A stored environment that is not this one.

    Attributes:
        key: its environment key.
        headers: its newest manifest in each namespace, the newest of all first.
        differences: the fields in which it differs.
    """

    key: str
    headers: tuple[Header, ...]
    differences: tuple[Difference, ...]


def nearest_environments(
    environment: Environment, headers: Iterable[Header], count: int
) -> list[Nearest]:
    """Return the stored environments that differ in the fewest fields; among equals, the newest.

    Args:
        environment: of this host; it is not returned itself.
        headers: the headers of manifests of any environment and namespace.
        count: how many to return at most.
    """
    by_key: defaultdict[str, list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda header: header.name.snapshot, reverse=True):
        if header.name.address.environment_key != environment.key:
            by_key[header.name.address.environment_key].append(header)
    here = _pairs(environment)
    found = [
        Nearest(key, tuple(those), diff(here, those[0].lineage.environment))
        for key, those in by_key.items()
    ]
    found.sort(key=lambda near: len(near.differences))
    return found[:count]


def nearest_differences(
    environment: Environment, headers: Iterable[Header]
) -> tuple[Difference, ...]:
    """Return the fields in which the nearest stored environment differs from this one.

    Returns:
        No field when nothing is stored, or when this environment has something in another
        namespace.
    """
    here = _pairs(environment)
    candidates = [diff(here, header.lineage.environment) for header in headers]
    return min(candidates, key=len, default=())


def other_namespaces(address: Address, headers: Iterable[Header]) -> Sequence[str]:
    """Return the namespaces in which something is stored for the same environment."""
    return sorted(
        header.name.address.namespace
        for header in headers
        if header.name.address.environment_key == address.environment_key
        and header.name.address != address
    )


def named(namespaces: Iterable[str]) -> str:
    """Name namespaces in a sentence; "none" would read as if there were none."""
    return ", ".join(name or "the one without a name" for name in namespaces)


def recorded_differences(
    environment: Environment, recorded: Iterable[tuple[str, str]]
) -> tuple[Difference, ...]:
    """Return the fields recorded beside the key that differ from the machine that saved.

    A fact that the machine did not record, because of its release, is no difference.
    """
    here = [(item.name, item.value) for item in environment.recorded]
    return tuple(item for item in diff(here, recorded) if item.there is not None)


def _pairs(environment: Environment) -> list[tuple[str, str]]:
    return [(item.name, item.value) for item in environment.fields]
