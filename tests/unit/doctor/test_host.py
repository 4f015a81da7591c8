"""What `doctor` says of this host: its Python, devices, tools, and the compilers' own switches."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from b10_transfer.machine import versions as versions
from b10_transfer.machine.environment import Environment, Field
from b10_transfer.machine.versions import Reading, TorchRelease
from tests.support.bare_machines import programs
from tests.support.cache_trees import compiled_graph
from tests.support.doctor_views import found, one, only_problem, problem_codes
from tests.support.machines import GPU_MACHINE, running_on
from tests.support.sites import Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host

TREE = compiled_graph("model")


def test_without_torch_it_is_the_wrong_python(host: Host, here: Environment) -> None:
    torchless = tuple(
        Field(item.name, "none", item.source) if item.name == "torch" else item
        for item in here.fields
    )
    with running_on(replace(here, fields=torchless)):
        finding = one(host, "host.no_torch")
    assert sys.executable in finding.text
    assert "the Python that runs the server" in finding.advice


def test_a_gpu_that_is_seen_is_no_matter(host: Host) -> None:
    with running_on(GPU_MACHINE):
        assert found(host, "host") == []


@pytest.mark.parametrize(("cuda", "hip"), [("12.8", None), (None, "6.2")])
def test_a_torch_for_gpus_that_sees_none_is_worth_a_note(
    host: Host, cuda: str | None, hip: str | None
) -> None:
    reading = Reading("2.13.0", "a test")
    release = TorchRelease(reading, reading, cuda, hip, None)
    with mock.patch.object(versions, "torch_release", return_value=release):
        finding = one(host, "host.no_gpu")
        assert problem_codes(host) == []
    assert (cuda or hip or "") in finding.text
    assert "CUDA_VISIBLE_DEVICES" in finding.advice


def test_a_torch_for_cpus_misses_no_gpu(host: Host) -> None:
    reading = Reading("2.13.0+cpu", "a test")
    release = TorchRelease(reading, reading, None, None, None)
    with mock.patch.object(versions, "torch_release", return_value=release):
        assert found(host, "host.no_gpu") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TORCHINDUCTOR_FORCE_DISABLE_CACHES", "1"),
        ("TORCH_COMPILE_FORCE_DISABLE_CACHES", "1"),
        ("TORCHINDUCTOR_FX_GRAPH_CACHE", "0"),
        ("TORCHINDUCTOR_AUTOGRAD_CACHE", "0"),
        ("TORCH_COMPILE_DISABLE", "1"),
        ("TRITON_ALWAYS_COMPILE", "true"),
        ("VLLM_DISABLE_COMPILE_CACHE", "1"),
    ],
)
def test_a_compiler_that_is_told_to_use_no_cache_is_a_problem(
    host: Host, name: str, value: str
) -> None:
    finding = only_problem(host, "host.caching_off", **{name: value})
    assert finding.text.startswith(f"{name}={value}: ")
    assert finding.advice == f"unset {name}"


@pytest.mark.parametrize(
    ("name", "value"),
    [("TORCHINDUCTOR_FX_GRAPH_CACHE", "1"), ("VLLM_DISABLE_COMPILE_CACHE", "0")],
)
def test_a_compiler_that_is_told_to_use_its_cache_is_none(
    host: Host, name: str, value: str
) -> None:
    assert problem_codes(host, **{name: value}) == []


@pytest.mark.parametrize(
    ("there", "missing", "text", "advice"),
    [
        ("openssl", "compiler", "no C++ compiler", "install g++ or set CXX"),
        ("g++", "openssl", "there is no openssl", "install it, or set TORCHINDUCTOR_CPP"),
    ],
)
def test_a_missing_tool_is_a_problem(
    host: Host, tmp_path: Path, there: str, missing: str, text: str, advice: str
) -> None:
    path = programs(tmp_path / "bin", there)
    finding = only_problem(host, "host.missing_tool", PATH=path, CXX=None)
    assert finding.details["tool"] == missing
    assert text in finding.text
    assert finding.advice.startswith(advice)


def test_on_a_gpu_tools_are_missed_only_where_there_are_cpp_kernels(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin")
    with running_on(GPU_MACHINE):
        host = Site(tmp_path).host("host", {"ab/kernel.py": b""})
        host.save()
        assert problem_codes(host, PATH=path, CXX=None) == []
        host.write(TREE)
        codes = problem_codes(host, PATH=path, CXX=None)
    assert codes == ["host.missing_tool", "host.missing_tool"]
