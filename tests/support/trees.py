"""Whole caches of small models, as values that compare equal wherever the files lie.

Names begin with the cache root, so that one tree holds what is in all roots of a host.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from b10_store.paths import RECORD_FOLDER
from tests.support.cache_trees import elf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.sites import Host

SPANNING_SIZE = (1 << 20) + (1 << 18)
"""Bytes of the artifact that needs more than one frame of a pack."""

_AUTOGRAD = ("inductor/aotautograd/",)
_GRAPHS = ("inductor/fxgraph/",)
_REFERRING = ((_GRAPHS, _GRAPHS + _AUTOGRAD), (_AUTOGRAD, _AUTOGRAD))
"""Folders of entries, and those that hold none of the parts of these."""

_FOLDER = b"[the folder of this file]"
"""Stands for the absolute path of a Triton group's folder."""


class Artifact(NamedTuple):
    """A file of a cache root: its bytes, and whether it may be executed."""

    data: bytes
    executable: bool = False


Artifacts = dict[str, Artifact]
"""By name: `<cache root>/<path>`."""


def compiled(model: str, *, spanning: bool = False, triton_root: bool = False) -> Artifacts:
    """What compiling a small model leaves behind; other models leave other paths and bytes.

    Args:
        model: any label.
        spanning: with an artifact that is longer than one frame.
        triton_root: with a kernel in Triton's own cache root too.
    """
    short = hashlib.sha256(model.encode()).hexdigest()[:20]
    folder = f"inductor/{short[:2]}"
    tree = {
        f"{folder}/c{short}.py": Artifact(_source(model, 40)),
        f"{folder}/c{short}.main.cpp": Artifact(_source("kernel of " + model, 20)),
        f"{folder}/c{short}.main.so": Artifact(elf(_noise(model, 600)), executable=True),
        f"{folder}/{short * 2}.mark": Artifact(b""),
        **_variants("fxgraph/aa/fa" + short, model, 2),
        **_variants("fxgraph/bb/fb" + short, model, 1),
        **_variants("aotautograd/a" + short, model, 1),
        **_kernel("inductor/triton/0", model),
    }
    if spanning:
        text = _source(model, 64)
        data = (text * (SPANNING_SIZE // len(text) + 1))[:SPANNING_SIZE]
        tree[f"{folder}/{short * 2}.spanning"] = Artifact(data)
    if triton_root:
        tree.update(_kernel("triton", "own " + model))
    return tree


def put_artifacts(host: Host, tree: Mapping[str, Artifact]) -> None:
    """Write artifacts into a host's cache roots as Inductor does: each comes by a rename."""
    for name, artifact in tree.items():
        root, _, path = name.partition("/")
        location = os.path.join(_roots(host)[root], *path.split("/"))
        folder = os.path.dirname(location)
        os.makedirs(folder, exist_ok=True)
        temporary = os.path.join(folder, f".{os.getpid()}.tmp")
        with open(temporary, "wb") as file:
            file.write(artifact.data.replace(_FOLDER, os.fsencode(folder)))
        os.chmod(temporary, 0o755 if artifact.executable else 0o644)
        os.replace(temporary, location)


def artifacts_of(host: Host) -> Artifacts:
    """Every file in a host's cache roots that is not the host's own record.

    Raises:
        AssertionError: something there is neither a file nor a folder.
    """
    tree: Artifacts = {}
    for root, top in _roots(host).items():
        for folder, folders, names in os.walk(top):
            if folder == top and RECORD_FOLDER in folders:
                folders.remove(RECORD_FOLDER)
            for name in names:
                location = os.path.join(folder, name)
                if name.startswith(".") and name.endswith(".tmp"):
                    continue
                path = os.path.relpath(location, top).replace(os.sep, "/")
                tree[f"{root}/{path}"] = _read(location)
    return tree


def differences(found: Mapping[str, Artifact], expected: Mapping[str, Artifact]) -> list[str]:
    """In what two trees differ, in words: missing, unexpected, other bytes, other mode."""
    lines = [f"missing: {name}" for name in sorted(expected.keys() - found.keys())]
    lines += [f"unexpected: {name}" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        if found[name].data != expected[name].data:
            lines.append(f"other bytes ({len(found[name].data)}): {name}")
        elif found[name] != expected[name]:
            lines.append(f"other mode: {name}")
    return lines


def entries_without_parts(tree: Mapping[str, Artifact]) -> list[str]:
    """Triton groups of which a file is not there: Triton fails on those, it does not recompile."""
    missing: list[str] = []
    for name, artifact in tree.items():
        folder, _, base = name.rpartition("/")
        if base.startswith("__grp__"):
            children: dict[str, str] = json.loads(artifact.data)["child_paths"]
            missing += [
                f"{name} without {child}" for child in children if f"{folder}/{child}" not in tree
            ]
    return missing


def out_of_order(tree: Mapping[str, Artifact], whole: Mapping[str, Artifact]) -> list[str]:
    """Entries of the inductor root that are there before (or after) what they refer to.

    Args:
        tree: what is there.
        whole: what is there in the end (or was in the beginning).
    """
    found = entries_without_parts(tree)
    for folders, parts in _REFERRING:
        entries = [name for name in tree if name in whole and name.startswith(folders)]
        if entries:
            found += [
                f"{entries[0]} without {name}"
                for name in whole
                if name.startswith("inductor/") and not name.startswith(parts) and name not in tree
            ]
    return found


def _roots(host: Host) -> dict[str, str]:
    return {"inductor": str(host.root), "triton": str(host.triton)}


def _read(location: str) -> Artifact:
    status = os.lstat(location)
    assert stat.S_ISREG(status.st_mode), f"{location} is no file"
    with open(location, "rb") as file:
        data = file.read()
    folder, name = os.path.split(location)
    if name.startswith("__grp__"):
        data = data.replace(os.fsencode(folder), _FOLDER)
    return Artifact(data, bool(status.st_mode & stat.S_IXUSR))


def _variants(folder: str, model: str, count: int) -> Artifacts:
    """Files of one key, each named by the hash of its content, as Inductor keeps graphs."""
    graphs = [_noise(f"{folder} {model} {index}", 200) for index in range(count)]
    return {
        f"inductor/{folder}/{hashlib.sha256(graph).hexdigest()}": Artifact(graph)
        for graph in graphs
    }


def _kernel(parent: str, model: str) -> Artifacts:
    """A kernel as Triton leaves it; the paths in its group are written as `restore_group` does."""
    key = hashlib.sha256(model.encode()).digest()
    folder = f"{parent}/{base64.b32encode(key).decode().rstrip('=')}"
    name = f"kernel_{key.hex()[:6]}"
    children = {
        f"{name}.cubin": Artifact(elf(_noise("cubin " + model, 400))),
        f"{name}.json": Artifact(json.dumps({"name": name, "shared": 0}).encode()),
    }
    paths = {child: f"{_FOLDER.decode()}/{child}" for child in sorted(children)}
    group = Artifact(json.dumps({"child_paths": paths}).encode())
    tree = {f"{folder}/{child}": artifact for child, artifact in children.items()}
    return {**tree, f"{folder}/__grp__{name}.json": group}


def _source(label: str, lines: int) -> bytes:
    return "".join(f"value_{line} = {label!r}  # {line}\n" for line in range(lines)).encode()


def _noise(label: str, size: int) -> bytes:
    """Bytes that do not compress."""
    return hashlib.shake_256(label.encode()).digest(size)
