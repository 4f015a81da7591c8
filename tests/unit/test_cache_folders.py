"""Where each cache root lies: as the compilers say themselves, or as their sources do."""

from __future__ import annotations

import getpass
import importlib.util
import json
import os
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from b10_transfer.caches import folders as cache_folders
from b10_transfer.paths import is_below
from tests.support.programs import run_python
from tests.support.sites import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Resolve = Callable[[Mapping[str, str]], str]

# Triton looks at HOME when it is imported; the constant of Inductor's headers is its default folder
# as it was when torch was imported.
ASK_THE_COMPILERS = """
import importlib, tempfile
from torch._inductor.runtime.cache_dir_utils import cache_dir, default_cache_dir
try:
    import triton
except ImportError:
    triton = None

answers = []
for variables in json.loads(sys.argv[1]):
    for name in list(os.environ):
        if name not in ("PATH", "PYTHONPATH"):
            del os.environ[name]
    os.environ.update(variables)
    tempfile.tempdir = None
    answer = {"inductor": cache_dir(), "default": default_cache_dir()}
    # What Inductor notes for its own children is not what the user chose.
    os.environ.pop("TORCHINDUCTOR_CACHE_DIR")
    if triton:
        answer["triton"] = importlib.reload(triton.knobs).cache.dir
    answers.append(answer)
print(json.dumps(answers))
"""

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")


def ask(code: str, arguments: object, host: Host, folder: Path, **changes: str) -> list[Any]:
    """The list that code prints, as JSON, which runs in `folder` on a host."""
    given = json.dumps(arguments)
    start = f"import json, os, sys; os.chdir({str(folder)!r}); sys.argv[1:] = [{given!r}]"
    done = run_python(f"{start}\n{code}", host.variables(**changes), warnings="ignore")
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.mark.torch
@needs_torch
def test_the_folders_are_those_that_inductor_and_triton_themselves_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path / "store", tmp_path)
    temporary, home, chosen = str(tmp_path / "tmp"), str(tmp_path / "home"), str(tmp_path / "new")
    host.variables()
    base = {"TMPDIR": temporary, "HOME": home}
    bob = {**base, "USER": "bob"}
    nowhere = str(tmp_path / "absent")
    cases: list[dict[str, str]] = [
        base,
        bob,
        {"TMPDIR": temporary},
        {**base, "LOGNAME": "ann", "USER": "bob"},
        {**base, "LOGNAME": "", "USER": "bob"},
        {**base, "USER": 'do/main\\u:s*e?r"<n>|'},
        {**base, "USER": "Jörg O'Neill"},
        {**base, "USER": ".."},
        {**base, "LNAME": "lname", "USERNAME": "username"},
        {**bob, "TORCHINDUCTOR_CACHE_DIR": chosen},
        {**bob, "TORCHINDUCTOR_CACHE_DIR": chosen + "//sub/../x/"},
        {**bob, "TORCHINDUCTOR_CACHE_DIR": "relative/x"},
        {**bob, "TORCHINDUCTOR_CACHE_DIR": "~/x"},
        {**bob, "TORCHINDUCTOR_CACHE_DIR": ""},
        {**bob, "TRITON_CACHE_DIR": chosen},
        {**bob, "TRITON_CACHE_DIR": "relative/x"},
        {**bob, "TRITON_CACHE_DIR": "~/x"},
        {**bob, "TRITON_HOME": chosen},
        {**bob, "TRITON_HOME": "~/x"},
        {**bob, "TRITON_HOME": ""},
        {**bob, "HOME": ""},
        {**bob, "HOME": home + "//"},
        {**bob, "HOME": "relative"},
        {"HOME": home, "TMP": temporary, "USER": "bob"},
        {"HOME": home, "TMPDIR": nowhere, "TEMP": temporary, "USER": "bob"},
        {"HOME": home, "TMPDIR": "", "TEMP": temporary, "USER": "bob"},
        {"HOME": home, "TMPDIR": "tmp", "USER": "bob"},
        {**bob, "XDG_CACHE_HOME": chosen},
    ]
    monkeypatch.chdir(tmp_path)
    answers = ask(ASK_THE_COMPILERS, cases, host, tmp_path)
    for variables, answer in zip(cases, answers, strict=True):
        assert cache_folders.inductor(variables) == answer["inductor"], variables
        assert cache_folders.default_inductor(variables) == answer["default"], variables
        if "triton" in answer:
            assert cache_folders.triton(variables) == os.path.abspath(answer["triton"]), variables


@pytest.mark.torch
@needs_torch
def test_the_headers_lie_beside_the_default_folder_whatever_the_user_chose(tmp_path: Path) -> None:
    host = Host(tmp_path / "store", tmp_path)
    code = "from torch._inductor import codecache; print(json.dumps([codecache._HEADER_DIR]))"
    (found,) = ask(code, None, host, tmp_path, LOGNAME="do/main\\user")
    assert found == str(tmp_path / "tmp" / "torchinductor_do_main_user" / "precompiled_headers")
    assert cache_folders.inductor_headers(host.variables(LOGNAME="do/main\\user")) == found


@pytest.mark.torch
@needs_torch
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_user_without_an_account_has_a_folder_by_number(tmp_path: Path) -> None:
    code = """
from torch._inductor.runtime.cache_dir_utils import default_cache_dir
from b10_transfer.caches import folders as cache_folders
for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "TMPDIR"):
    os.environ.pop(name, None)
os.setuid(54321)
ours = cache_folders.default_inductor(os.environ)
print(json.dumps([default_cache_dir(), ours, cache_folders.cute_dsl(os.environ)]))
"""
    answers = ask(code, None, Host(tmp_path / "store", tmp_path), tmp_path)
    theirs, ours, cute = answers
    assert ours == theirs
    assert ours.endswith("/torchinductor_uid_54321")
    assert cute == os.path.join(os.path.dirname(ours), "cutlass_python_cache")


def test_the_account_counts_where_no_variable_names_the_user(tmp_path: Path) -> None:
    import pwd

    name = pwd.getpwuid(os.getuid()).pw_name
    with_folder = {"TMPDIR": str(tmp_path)}
    assert cache_folders.default_inductor(with_folder) == f"{tmp_path}/torchinductor_{name}"
    assert cache_folders.cute_dsl(with_folder) == f"{tmp_path}/{name}/cutlass_python_cache"


def test_the_variables_that_were_given_count_and_not_those_of_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pwd

    account = pwd.getpwuid(os.getuid())
    for name in ("HOME", "USER", "LOGNAME", "VLLM_CACHE_ROOT", "SGLANG_CACHE_DIR"):
        monkeypatch.setenv(name, "/elsewhere")
    variables = {"TMPDIR": str(tmp_path)}
    assert getpass.getuser() == "/elsewhere"
    default = cache_folders.default_inductor(variables)
    assert default == f"{tmp_path}/torchinductor_{account.pw_name}"
    home = account.pw_dir.rstrip("/")
    assert cache_folders.triton(variables) == f"{home}/.triton/cache"
    assert cache_folders.vllm(variables) == f"{home}/.cache/vllm"
    assert cache_folders.sglang(variables) == f"{home}/.cache/sglang"
    assert cache_folders.deep_jit(variables) == f"{home}/.dj"


def test_a_temporary_folder_that_cannot_be_used_is_passed_over(tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path / "absent"), "TEMP": str(tmp_path), "USER": "bob"}
    assert cache_folders.default_inductor(variables) == str(tmp_path / "torchinductor_bob")
    nothing = cache_folders.default_inductor({"USER": "bob"})
    assert nothing == os.path.join(tempfile.gettempdir(), "torchinductor_bob")


@pytest.mark.parametrize("inside", ["", "/triton", "/triton/0", "//triton/./0/"])
def test_a_triton_folder_that_inductor_chose_below_its_own_counts_as_not_chosen(
    inside: str,
) -> None:
    variables = {
        "TORCHINDUCTOR_CACHE_DIR": "/data/inductor",
        "TRITON_CACHE_DIR": "/data/inductor" + inside,
        "HOME": "/home/ann",
    }
    assert cache_folders.triton(variables) == "/home/ann/.triton/cache"
    variables["TRITON_CACHE_DIR"] = "/data/inductor2/triton"
    assert cache_folders.triton(variables) == "/data/inductor2/triton"


# vllm/envs.py: VLLM_CACHE_ROOT through expanduser, else XDG_CACHE_HOME or ~/.cache, with vllm.
VLLM: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.cache/vllm"),
    ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/vllm"),
    ({"XDG_CACHE_HOME": "~/xdg"}, "/home/ann/xdg/vllm"),
    ({"XDG_CACHE_HOME": ""}, "{here}/vllm"),
    ({"XDG_CACHE_HOME": "xdg"}, "{here}/xdg/vllm"),
    ({"VLLM_CACHE_ROOT": "/root-of-vllm", "XDG_CACHE_HOME": "/xdg"}, "/root-of-vllm"),
    ({"VLLM_CACHE_ROOT": "~/v"}, "/home/ann/v"),
    ({"VLLM_CACHE_ROOT": "~"}, "/home/ann"),
    ({"VLLM_CACHE_ROOT": "/a/~/v"}, "/a/~/v"),
    ({"VLLM_CACHE_ROOT": "relative/v"}, "{here}/relative/v"),
    ({"VLLM_CACHE_ROOT": ""}, "{here}"),
    ({"HOME": ""}, "/.cache/vllm"),
    ({"HOME": "/"}, "/.cache/vllm"),
    ({"HOME": "/home/ann/"}, "/home/ann/.cache/vllm"),
]
# sglang/srt/environ.py: SGLANG_CACHE_DIR, redirect_third_party_caches, _handle_deprecated_envs.
SGLANG: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.cache/sglang"),
    ({"XDG_CACHE_HOME": "/xdg"}, "/home/ann/.cache/sglang"),
    ({"SGLANG_CACHE_DIR": "/one"}, "/one"),
    ({"SGLANG_CACHE_DIR": "~/one"}, "/home/ann/one"),
    ({"SGLANG_CACHE_DIR": "one"}, "{here}/one"),
    ({"SGLANG_CACHE_DIR": ""}, "{here}"),
    ({"SGLANG_CACHE_DIR": "/one", "SGL_CACHE_DIR": "/older"}, "/older"),
    ({"HOME": ""}, "/.cache/sglang"),
]
# sglang/kernels/jit/utils/compile/cache.py, cache_root.
SGLANG_JIT: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.cache/sglang/jit"),
    ({"SGLANG_CACHE_DIR": "/one"}, "/home/ann/.cache/sglang/jit"),
    ({"SGLANG_JIT_CACHE_DIR": ""}, "/home/ann/.cache/sglang/jit"),
    ({"SGLANG_JIT_CACHE_DIR": "~/jit"}, "/home/ann/jit"),
    ({"SGLANG_JIT_CACHE_DIR": "jit"}, "{here}/jit"),
    ({"SGLANG_JIT_CACHE_DIR": "/jit", "SGL_JIT_CACHE_DIR": "/older"}, "/older"),
]
# flashinfer/jit/env.py: Path(FLASHINFER_WORKSPACE_BASE or home) / ".cache" / "flashinfer".
FLASHINFER: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.cache/flashinfer"),
    ({"XDG_CACHE_HOME": "/xdg"}, "/home/ann/.cache/flashinfer"),
    ({"FLASHINFER_WORKSPACE_BASE": "/base"}, "/base/.cache/flashinfer"),
    ({"FLASHINFER_WORKSPACE_BASE": "~/base"}, "{here}/~/base/.cache/flashinfer"),
    ({"FLASHINFER_WORKSPACE_BASE": "base"}, "{here}/base/.cache/flashinfer"),
    ({"FLASHINFER_WORKSPACE_BASE": ""}, "{here}/.cache/flashinfer"),
    ({"HOME": ""}, "/.cache/flashinfer"),
]
# DeepGEMM's csrc/jit/compiler.hpp: empty is as good as not set, and a list is no list.
DEEP_GEMM: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.deep_gemm"),
    ({"DG_JIT_CACHE_DIR": "/dg"}, "/dg"),
    ({"DG_JIT_CACHE_DIR": "/dg:/shared"}, "/dg:/shared"),
    ({"DG_JIT_CACHE_DIR": ""}, "/home/ann/.deep_gemm"),
    ({"DG_JIT_CACHE_DIR": "~/dg"}, "{here}/~/dg"),
    ({"DJ_JIT_CACHE_DIR": "/dj"}, "/home/ann/.deep_gemm"),
]
# DeepJIT's include/deep_jit/cache/disk.hpp and utils/env.hpp.
DEEP_JIT: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.dj"),
    ({"DG_JIT_CACHE_DIR": "/dg", "DJ_JIT_CACHE_DIR": "/dj"}, "/dg"),
    ({"DJ_JIT_CACHE_DIR": "/dj"}, "/dj"),
    ({"DG_JIT_CACHE_DIR": "/dg:/shared:/more"}, "/dg"),
    ({"DJ_JIT_CACHE_DIR": "dj:/shared"}, "{here}/dj"),
    ({"DG_JIT_CACHE_DIR": "~/dg"}, "{here}/~/dg"),
    # It refuses these, before it compiles or looks anything up.
    ({"DG_JIT_CACHE_DIR": "", "DJ_JIT_CACHE_DIR": "/dj"}, "/home/ann/.dj"),
    ({"DG_JIT_CACHE_DIR": ":/shared"}, "/home/ann/.dj"),
]
# tilelang/env.py: TILELANG_CACHE_DIR as it is; empty, the compiler cannot make its folder.
TILELANG: list[tuple[dict[str, str], str]] = [
    ({}, "/home/ann/.tilelang/cache"),
    ({"XDG_CACHE_HOME": "/xdg"}, "/home/ann/.tilelang/cache"),
    ({"TILELANG_CACHE_DIR": "/tile"}, "/tile"),
    ({"TILELANG_CACHE_DIR": "~/tile"}, "{here}/~/tile"),
    ({"TILELANG_CACHE_DIR": "tile"}, "{here}/tile"),
    ({"TILELANG_CACHE_DIR": ""}, "/home/ann/.tilelang/cache"),
]
# cutlass/base_dsl/cache_helpers.py: get_default_generated_ir_path and get_current_user.
CUTE_DSL: list[tuple[dict[str, str], str]] = [
    ({}, "/big/tmp/ann/cutlass_python_cache"),
    ({"LOGNAME": "other"}, "/big/tmp/ann/cutlass_python_cache"),
    ({"USER": "", "USERNAME": "uma"}, "/big/tmp/uma/cutlass_python_cache"),
    ({"USER": "do\\main: x"}, "/big/tmp/do\\main: x/cutlass_python_cache"),
    ({"TMPDIR": ""}, "{here}/ann/cutlass_python_cache"),
    ({"TMPDIR": "tmp"}, "{here}/tmp/ann/cutlass_python_cache"),
    ({"CUTE_DSL_CACHE_DIR": "/cute"}, "/cute"),
    ({"CUTE_DSL_CACHE_DIR": "~/cute"}, "{here}/~/cute"),
    ({"CUTE_DSL_CACHE_DIR": "cute"}, "{here}/cute"),
    ({"CUTE_DSL_CACHE_DIR": ""}, "/big/tmp/ann/cutlass_python_cache"),
]
FACTS: list[tuple[Resolve, list[tuple[dict[str, str], str]]]] = [
    (cache_folders.vllm, VLLM),
    (cache_folders.sglang, SGLANG),
    (cache_folders.sglang_jit, SGLANG_JIT),
    (cache_folders.flashinfer, FLASHINFER),
    (cache_folders.deep_gemm, DEEP_GEMM),
    (cache_folders.deep_jit, DEEP_JIT),
    (cache_folders.tilelang, TILELANG),
    (cache_folders.cute_dsl, CUTE_DSL),
]


@pytest.mark.parametrize(
    ("resolve", "changes", "expected"),
    [(resolve, changes, expected) for resolve, facts in FACTS for changes, expected in facts],
)
def test_the_folders_of_other_compilers_are_those_that_their_sources_say(
    resolve: Resolve,
    changes: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    base = {"HOME": "/home/ann", "USER": "ann", "LOGNAME": "logname", "TMPDIR": "/big/tmp"}
    assert resolve({**base, **changes}) == expected.replace("{here}", str(tmp_path))


def test_without_tmpdir_cute_dsl_uses_the_temporary_folder_of_python(tmp_path: Path) -> None:
    variables = {"TEMP": str(tmp_path), "USER": "ann"}
    assert cache_folders.cute_dsl(variables) == f"{tmp_path}/ann/cutlass_python_cache"


@pytest.mark.parametrize(
    ("path", "folder", "expected"),
    [
        ("/a/b", "/a", True),
        ("/a", "/a", True),
        ("/a/b", "/a/", True),
        ("/ab", "/a", False),
        ("/a", "/a/b", False),
        ("/a", "/", True),
        ("/", "/a", False),
    ],
)
def test_a_folder_is_below_another_by_whole_components(
    path: str, folder: str, expected: bool
) -> None:
    assert is_below(path, folder) is expected
