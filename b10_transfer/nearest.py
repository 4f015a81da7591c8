"""Why nothing is stored for an environment: the nearest one that has something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b10_transfer.environment import Difference, diff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b10_store.layout import Address
    from b10_store.manifest_file import Header
    from b10_transfer.environment import Environment


def nearest_differences(
    environment: Environment, headers: Iterable[Header]
) -> tuple[Difference, ...]:
    """The fields in which the nearest of the stored environments differs from this one.

    Returns:
        No field when there is none stored, or when one is the same in another namespace.
    """
    here = _pairs(environment)
    candidates = [diff(here, header.lineage.environment) for header in headers]
    return min(candidates, key=len, default=())


def other_namespaces(address: Address, headers: Iterable[Header]) -> Sequence[str]:
    """The namespaces in which something is stored for the same environment."""
    return sorted(
        header.name.address.namespace
        for header in headers
        if header.name.address.environment_key == address.environment_key
        and header.name.address != address
    )


def recorded_differences(
    environment: Environment, recorded: Iterable[tuple[str, str]]
) -> tuple[Difference, ...]:
    """What is recorded beside the key and differs from the machine that saved."""
    here = [(item.name, item.value) for item in environment.recorded]
    there = list(recorded)
    return diff(here, there) if there else ()


def _pairs(environment: Environment) -> list[tuple[str, str]]:
    return [(item.name, item.value) for item in environment.fields]
