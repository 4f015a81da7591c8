"""The bench's command works on a tree that nobody has to compile; no time is looked at."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from typing import TYPE_CHECKING, Any

import pytest

from bench.slow_mount import can_mount, mounted
from tests.support.cache_trees import elf, noise, pickled, write_tree
from tests.support.sites import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or importlib.util.find_spec("triton") is None,
    reason="the bench uses Linux' tools, and Triton",
)


def kernel(name: str) -> dict[str, bytes]:
    files = {
        f"{name}.source": b"tt.func @" + name.encode(),
        f"{name}.json": json.dumps({"hash": "0" * 64, "name": name}).encode(),
        f"{name}.cubin": elf(noise(200)),
    }
    paths = {child: f"/elsewhere/{child}" for child in files}
    return {**files, f"__grp__{name}.json": json.dumps({"child_paths": paths}).encode()}


def plant_seeds(folder: Path) -> None:
    """Put what stands for compiled artifacts into the bench's cache, in `folder`."""
    from bench.seeds import versions

    tree = {
        "inductor/ab/cab.main.cpp": b"int tmp1;\n" * 9,
        "inductor/ab/cab.main.so": elf(noise(300)),
        "inductor/ab/cab.py": b"tmp1 = 2\n" * 9,
        "inductor/fxgraph/ab/fab/cd": pickled(b"graph"),
        "inductor/aotautograd/aab/cd": pickled(b"autograd"),
    }
    for name in ("add", "gram"):
        tree |= {f"triton/{name}/{file}": data for file, data in kernel(name).items()}
    write_tree(folder / "b10-transfer-bench" / f"seeds-{versions()}", tree)


def bench(cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), "TMPDIR": str(cache)},
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    """What one round of everything on a small tree prints, and what it writes."""
    cache = tmp_path_factory.mktemp("cache")
    plant_seeds(cache)
    file = cache / "figures.json"
    options = ("--size", "60,130", "--place", "disk", "--runs", "1", "--sticks", "cp,gzip")
    done = bench(cache, *options, "--json", str(file), "--plot", str(file.with_suffix(".svg")))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (cache / "b10-transfer-bench").glob("b10-bench-*")] == []
    ElementTree.fromstring(file.with_suffix(".svg").read_text(encoding="utf-8"))  # noqa: S314 - our own
    return done.stdout, json.loads(file.read_text(encoding="utf-8"))


def test_every_operation_is_measured_beside_its_sticks(
    measured: tuple[str, dict[str, Any]],
) -> None:
    from bench.sticks import COPY, GZIP

    table, written = measured
    result = written["results"][0]
    rows = {(row["operation"], row["who"]): row for row in result["rows"]}
    first = rows["first load", "ours"]
    assert set(first["ratios"]) == {COPY, GZIP.name}
    assert first["seconds"] > first["call_seconds"] > 0
    assert ("first save", GZIP.name) in rows
    assert {"list", "info", "gc", "save of 5 % more"} <= {operation for operation, _ in rows}
    assert all(operation in table for operation, _ in rows)


def test_the_machine_and_the_tree_are_named(measured: tuple[str, dict[str, Any]]) -> None:
    table, written = measured
    assert table.startswith(written["machine"].partition(";")[0])
    assert f"{written['results'][0]['files']:,} artifacts" in table


def test_what_operations_ask_of_the_store_is_counted(tmp_path: Path) -> None:
    plant_seeds(tmp_path)
    done = bench(tmp_path, "costs", "--size", "60")
    assert done.returncode == 0, done.stderr
    lines = {line[:36].strip(): line[36:].split() for line in done.stdout.splitlines()}
    assert int(lines["first load"][1]) > 0
    assert lines["load of nothing new"][2] == "0"
    assert int(lines["8 heads: first load"][1]) > int(lines["first load"][1])


@pytest.mark.skipif(not can_mount(), reason="mounting needs Linux, root and /dev/fuse")
def test_a_slow_mount_mirrors_its_folder(tmp_path: Path) -> None:
    folder, mount = tmp_path / "folder", tmp_path / "mount"
    folder.mkdir()
    mount.mkdir()
    with mounted(folder, mount, 0.001):
        data = noise(3 << 20)
        (mount / "below").mkdir()
        (mount / "below/file").write_bytes(data)
        assert (folder / "below/file").read_bytes() == (mount / "below/file").read_bytes() == data
        (mount / "below/file").rename(mount / "file")
        os.link(mount / "file", mount / "link")
        os.utime(mount / "link", (1, 2))
        (mount / "file").chmod(0o640)
        status = (folder / "link").stat()
        assert (status.st_mtime, status.st_mode & 0o777, status.st_nlink) == (2, 0o640, 2)
        (mount / "file").unlink()
        (mount / "below").rmdir()
        assert os.listdir(mount) == os.listdir(folder) == ["link"]
        with pytest.raises(FileNotFoundError):
            (mount / "file").read_bytes()
    assert os.listdir(mount) == []


@pytest.mark.parametrize(
    ("option", "value"), [("--only", "loads"), ("--size", "6m"), ("--place", "moon")]
)
def test_a_wrong_word_is_named_with_those_that_there_are(
    tmp_path: Path, option: str, value: str
) -> None:
    done = bench(tmp_path, option, value)
    assert done.returncode == 2
    assert value in done.stderr
