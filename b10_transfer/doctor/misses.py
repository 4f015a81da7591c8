"""Findings about the stored artifacts: why a load finds nothing, or little that helps."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from b10_store import Seal
from b10_transfer.doctor.findings import note, problem
from b10_transfer.doctor.loaded_use import LoadedUse
from b10_transfer.keys import KEY_FILE
from b10_transfer.machine.nearest import (
    named,
    nearest_environments,
    other_namespaces,
    recorded_differences,
)
from b10_transfer.operations.reports import difference_lines
from b10_transfer.operations.unsigned import store_exposure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from b10_store import Address, Header, Heads
    from b10_transfer.doctor.findings import Finding
    from b10_transfer.doctor.stored import Stored, StoredManifest
    from b10_transfer.machine.environment import Difference, Environment
    from b10_transfer.machine.nearest import Nearest
    from b10_transfer.settings import Settings

_SUBJECT = "stored"
_NEAREST = 3
_NAMED = 5
_SAME_IMAGE = "run the same image as the server that saved, or save once from this one"
_SAME_HOST = "save once on a machine of this kind; each kind keeps its own artifacts"
ADVICE = {
    "torch": _SAME_IMAGE,
    "torch_git": _SAME_IMAGE,
    "triton": _SAME_IMAGE,
    "python": _SAME_IMAGE,
    "python_abi": _SAME_IMAGE,
    "c_library": _SAME_IMAGE,
    "os": _SAME_HOST,
    "machine": _SAME_HOST,
    "device": _SAME_HOST,
    "compute_capability": _SAME_HOST,
    "cuda": _SAME_IMAGE,
    "hip": _SAME_IMAGE,
    "cpu_flags": "keep to one type of CPU, or save once on each",
    "vector_isa": "use one type of CPU, or set ATEN_CPU_CAPABILITY alike everywhere (such as avx2)",
    "threads": "set OMP_NUM_THREADS to the same value on all replicas",
    "site_packages": "install torch at the same path on all replicas",
    "python_include": "install the same Python at the same path on all replicas",
    "cxx_compiler": "install the same C++ compiler on all replicas",
    "precompiled_headers": "set TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS alike on all replicas",
}
HARMLESS = frozenset({"driver"})
"""Recorded fields that no compiler has in its key."""


def stored_findings(
    stored: Stored, environment: Environment, address: Address, heads: Heads | None
) -> Iterator[Finding]:
    """Report why nothing is stored for this environment and namespace.

    Args:
        stored: the content of the store.
        environment: of this host.
        address: the environment key and namespace of this host.
        heads: the heads of that address, as a load reads them; None when they could not be read.
    """
    headers = stored.newest()
    own = next((header for header in headers if header.name.address == address), None)
    if heads is not None and heads.listed and not heads.manifests:
        return  # something is stored; another finding says why a manifest cannot be read
    if own is not None:
        return
    if not headers:
        yield problem(
            "stored.nothing",
            _SUBJECT,
            _nothing(stored),
            "let a server with a warm cache save; if one has, it used another folder",
        )
    else:
        yield from _miss_findings(environment, address, headers)


def _nothing(stored: Stored) -> str:
    if stored.manifests:
        return f"none of the {stored.listed} stored manifests can be used here"
    return "nothing is stored yet, for any environment"


def signing_findings(stored: Stored, settings: Settings) -> Iterator[Finding]:
    """Report manifests that this host does not believe, and missing keys."""
    yield from _key_findings(settings, stored)
    signed = sum(item.seal is Seal.SIGNED for item in stored.manifests)
    if signed and not stored.has_key:
        yield note(
            "signing.no_key",
            "signing",
            f"{signed} of {len(stored.manifests)} manifests are signed, but no key is set here: "
            "hosts that have the key refuse what this host saves",
            f"set {KEY_FILE} here too",
            signed=signed,
        )
    for seal in (Seal.PLAIN, Seal.FOREIGN):
        refused = [item for item in stored.refused if item.seal is seal]
        if refused:
            yield problem(
                "stored.refused",
                _SUBJECT,
                f"{_manifests(refused)} {seal.value}, and refused: {_names(refused)}",
                "save again from a host that has the key, or add the key that signed them as a "
                "further line",
                manifests=[item.name.manifest_path for item in refused],
                reason=seal.value,
            )


def _key_findings(settings: Settings, stored: Stored) -> Iterator[Finding]:
    if settings.signing_keys:
        waiting = [item for item in stored.manifests if item.seal is Seal.OLDER]
        if waiting:
            yield note(
                "signing.older_key",
                "signing",
                f"{_manifests(waiting)} signed with a key that is not the first: {_names(waiting)}",
                "run `b10-transfer key sign` before you remove that key",
                manifests=[item.name.manifest_path for item in waiting],
            )
        return
    exposed = store_exposure(settings.store)
    if exposed is not None:
        yield note(
            "signing.exposed",
            "signing",
            f"{exposed}, and {KEY_FILE} is not set: whoever can write there can run code here",
            "set it on all hosts",
        )


def difference_findings(
    own: Header | None, environment: Environment, use: LoadedUse
) -> Iterator[Finding]:
    """Report how the machine that saved last differs, as far as it matters here.

    Args:
        own: the newest manifest of this environment and namespace.
        environment: of this host.
        use: whether the compilers here used what was loaded last.
    """
    recorded = own.lineage.recorded if own is not None else ()
    differences = recorded_differences(environment, recorded)
    telling = [item for item in differences if item.name not in HARMLESS]
    if not telling or use is LoadedUse.USED:
        return
    fact = f"the machine that saved last had {difference_lines(telling)}"
    rows = _rows(telling)
    if use is LoadedUse.UNKNOWN:
        text = f"{fact}: the compilers' own keys contain some of this, so they may compile again"
        yield note("stored.differs", _SUBJECT, text, _advice_for(telling), differences=rows)
    elif use is LoadedUse.PARTLY_USED:
        text = f"{fact}: that may be why something was compiled here since the last load"
        yield note("stored.differs", _SUBJECT, text, _advice_for(telling), differences=rows)
    else:
        text = f"{fact}: that may be why much was compiled here since the last load"
        yield problem("stored.differs", _SUBJECT, text, _advice_for(telling), differences=rows)


def _miss_findings(
    environment: Environment, address: Address, headers: Sequence[Header]
) -> Iterator[Finding]:
    here = f"nothing for environment {environment.key}"
    namespaces = other_namespaces(address, headers)
    if namespaces:
        mine = address.namespace or "none"
        yield problem(
            "stored.other_namespace",
            _SUBJECT,
            f"{here} in this namespace ({mine}), but there is in others: {named(namespaces)}",
            "set B10_CACHE_NAMESPACE as on the server that saved",
            namespaces=list(namespaces),
        )
        return
    nearest = nearest_environments(environment, headers, _NEAREST)
    count = len({header.name.address.environment_key for header in headers})
    first = nearest[0]
    yield problem(
        "stored.other_environment",
        _SUBJECT,
        f"{here}; the nearest of {count} others has {difference_lines(first.differences)}",
        _advice_for(first.differences),
        environments=count,
        **_near(first),
        next_nearest=[_near(near) for near in nearest[1:]],
    )


def _advice_for(differences: Iterable[Difference]) -> str:
    """Return each advice about the fields once; the advice that covers most fields comes first."""
    counted = Counter(ADVICE[item.name] for item in differences if item.name in ADVICE)
    return "; ".join(advice for advice, _ in counted.most_common()) or _SAME_IMAGE


def _near(near: Nearest) -> dict[str, object]:
    return {
        "key": near.key,
        "namespaces": [header.name.address.namespace for header in near.headers],
        "saved_at": near.headers[0].name.begun_at,
        "differences": _rows(near.differences),
    }


def _rows(differences: Iterable[Difference]) -> list[dict[str, str | None]]:
    return [{"name": item.name, "here": item.here, "there": item.there} for item in differences]


def _manifests(items: Sequence[StoredManifest]) -> str:
    return "1 manifest is" if len(items) == 1 else f"{len(items)} manifests are"


def _names(items: Sequence[StoredManifest]) -> str:
    names = ", ".join(str(item.name) for item in items[:_NAMED])
    return names + f" and {len(items) - _NAMED} more" * (len(items) > _NAMED)
