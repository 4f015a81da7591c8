"""What is in the wheel, and that it works on its own."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from email.parser import Parser
from typing import TYPE_CHECKING

import pytest

from tests.support.cache_trees import compiled_graph
from tests.support.programs import run_python
from tests.support.sites import CHECKOUT, Site

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling builds the wheel"
)

PACKAGES = {"b10_transfer", "b10_store", "b10_tcache"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder), str(CHECKOUT)],
        check=True,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_its_top_level_is_the_three_packages_and_what_describes_them(names: set[str]) -> None:
    top = {name.partition("/")[0] for name in names}
    (description,) = top - PACKAGES
    assert top >= PACKAGES
    assert description.startswith("b10_transfer-")
    assert description.endswith(".dist-info")
    assert not [name for name in names if name in top], "no file lies outside of the packages"


def test_each_package_has_its_types(names: set[str]) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= names


def test_every_module_of_the_source_is_in_it_and_nothing_else(names: set[str]) -> None:
    source = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in {
            "b10_transfer": CHECKOUT / "b10_transfer",
            "b10_store": CHECKOUT / "store/b10_store",
            "b10_tcache": CHECKOUT / "store/b10_tcache",
        }.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == source


def test_it_says_what_it_is_under_which_licence_and_for_which_pythons(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [item for item in archive.namelist() if item.endswith("dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
        assert [item for item in archive.namelist() if item.endswith("licenses/LICENSE")]
    assert metadata["Name"] == "b10-transfer"
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Requires-Python"] == ">=3.10"
    stated = [item.partition("; ") for item in metadata.get_all("Requires-Dist", [])]
    extras = {need.split(">=")[0]: condition for need, _, condition in stated if condition}
    assert extras == {
        "cryptography": "extra == 'signing'",
        "shtab": "extra == 'completion'",
    }
    requirements = [need for need, _, condition in stated if not condition]
    assert {item.split(">=")[0] for item in requirements} == {
        *("torch", "blake3", "lmdb", "zstandard", "psutil", "nvidia-ml-py", "rich")
    }
    assert not [item for item in requirements if "<" in item or "==" in item]


def test_it_loads_and_saves_without_the_source(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    site = Site(tmp_path)
    for name, tree, function in (
        ("saver", compiled_graph("model"), "save_compile_cache"),
        ("loader", {}, "load_compile_cache"),
    ):
        host = site.host(name, tree)
        variables = host.variables(PYTHONPATH=str(tmp_path / "site"))
        code = f"""
import b10_transfer, b10_tcache, b10_store
for package in (b10_transfer, b10_tcache, b10_store):
    assert package.__file__.startswith({str(tmp_path)!r}), package.__file__
print(b10_tcache.{function}().name)
"""
        done = run_python(code, variables)
        assert (done.stdout, done.stderr) == ("SUCCESS\n", "")
    assert site.host("loader").tree() == compiled_graph("model")
