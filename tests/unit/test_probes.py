from __future__ import annotations

import os
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from b10_transfer.machine import versions as versions
from b10_transfer.machine.versions import Reading

if TYPE_CHECKING:
    from pathlib import Path


def test_the_torch_of_a_folder_is_read_from_its_version_file(tmp_path: Path) -> None:
    (tmp_path / "version.py").write_text(
        "from typing import Optional\n"
        "__all__ = ['__version__']\n"
        "__version__ = '2.9.1+rocm6.4'\n"
        "debug = False\n"
        "cuda: Optional[str] = None\n"
        "git_version = 'ab12'\n"
        "hip: Optional[str] = '6.4.2'\n"
        "raise SystemExit('version.py was run')\n",
        encoding="utf-8",
    )
    release = versions.torch_release_in(tmp_path)
    assert release.version == Reading("2.9.1+rocm6.4", "torch/version.py")
    assert release.git_version.value == "ab12"
    assert (release.cuda, release.hip) == (None, "6.4.2")


@pytest.mark.parametrize("content", [None, b"__version__ = ", b"\xff\xfe\x00", b""])
def test_a_version_file_that_cannot_be_read_is_unknown_and_says_so(
    tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "version.py").write_bytes(content)
    release = versions.torch_release_in(tmp_path)
    assert release.version.value == release.git_version.value == "unknown"
    assert "torch/version.py" in release.version.source
    assert (release.cuda, release.hip) == (None, None)


@pytest.mark.parametrize(
    ("distributions", "version"),
    [
        (["triton-3.7.1.dist-info"], "3.7.1"),
        (["pytorch_triton-3.3.0+git96316ce5.dist-info"], "3.3.0+git96316ce5"),
        (["pytorch_triton_rocm-3.3.0.dist-info", "tritonclient-2.58.dist-info"], "3.3.0"),
        (["triton_kernels-1.0.0.dist-info"], "3.0.0"),
        (["triton-3.7.1.dist-info", "pytorch_triton-3.3.0.dist-info"], "3.0.0"),
        ([], "3.0.0"),
    ],
)
def test_triton_has_the_version_of_its_distribution_or_else_its_own(
    tmp_path: Path, distributions: list[str], version: str
) -> None:
    for name in ("triton", *distributions):
        (tmp_path / name).mkdir()
    (tmp_path / "triton/__init__.py").write_text("__version__ = '3.0.0'\n", encoding="utf-8")
    assert versions.triton_version_in(tmp_path / "triton").value == version


def test_a_triton_that_cannot_be_read_is_unknown_and_says_so(tmp_path: Path) -> None:
    reading = versions.triton_version_in(tmp_path / "nowhere/triton")
    assert reading.value == "unknown"
    assert "cannot be read" in reading.source


def test_the_triton_installed_here_has_the_version_that_importlib_metadata_knows() -> None:
    try:
        installed = metadata.version("triton")
    except metadata.PackageNotFoundError:
        installed = "none"
    assert versions.triton_version().value == installed


def test_packages_that_are_not_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "triton"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    release = versions.torch_release()
    assert release.version == Reading("none", "torch is not installed")
    assert versions.site_packages(release).value == "none"
    assert versions.triton_version() == Reading("none", "triton is not installed")


def test_the_compiler_is_the_one_on_the_path_with_links_followed(tmp_path: Path) -> None:
    compiler = tmp_path / "g++-12"
    compiler.touch(mode=0o755)
    (tmp_path / "g++").symlink_to(compiler)
    found = versions.cxx_compiler({"PATH": str(tmp_path), "CXX": "g++"})
    assert found.value == os.path.realpath(compiler)
    absent = versions.cxx_compiler({"PATH": str(tmp_path / "empty")})
    assert absent.value == "none"
    assert "PATH" in absent.source


def test_a_nonsensical_thread_count_is_passed_over() -> None:
    for nonsense in ("", "many", "-1", "0"):
        reading = versions.thread_count({"OMP_NUM_THREADS": nonsense})
        assert reading == versions.thread_count({})
        assert int(reading.value) > 0
