"""The lists of a model's graphs, which servers write in place and read without a guard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from b10_transfer.caches.kinds import user_kind
from b10_transfer.caches.roots import CacheRoot
from tests.support.cache_trees import write_tree
from tests.support.scanned_roots import artifacts_in

if TYPE_CHECKING:
    from pathlib import Path


def artifacts_below(folder: Path) -> tuple[list[str], list[str]]:
    """Paths of the artifacts, and names of what was skipped."""
    return artifacts_in(CacheRoot(user_kind("mine", str(folder)), str(folder)))


GRAPH_LIST = b"""{   ((1, 8192), 0, 'inductor_standalone'): {   'cache_key': 'x',
                                               'graph_handle': ('a', '/b/a')}}"""


@pytest.mark.parametrize("name", ["vllm_compile_cache.py", "sglang_compile_cache.py"])
def test_a_list_of_graphs_cut_short_anywhere_is_skipped(tmp_path: Path, name: str) -> None:
    location = tmp_path / "rank_0_0" / name
    write_tree(tmp_path, {f"rank_0_0/{name}": GRAPH_LIST, "rank_0_0/graph": b""})
    whole = [f"rank_0_0/{path}" for path in ("graph", name)]
    assert artifacts_below(tmp_path) == (whole, [])
    for size in range(len(GRAPH_LIST)):
        location.write_bytes(GRAPH_LIST[:size])
        assert artifacts_below(tmp_path) == (["rank_0_0/graph"], [name]), size
    location.write_bytes(GRAPH_LIST + b"\n")
    assert artifacts_below(tmp_path) == (whole, [])


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfe",
        b"{'a': 1}\0",
        b"__import__('os').getcwd()",
        b"(" * 100_000,
        b"{[]: 1}",
        b"[" * 5000 + b"]" * 5000,
    ],
    ids=["no-text", "nul", "call", "unclosed", "unhashable", "deep"],
)
def test_what_is_called_a_list_of_graphs_and_is_none_is_skipped(
    tmp_path: Path, data: bytes
) -> None:
    write_tree(tmp_path, {"ab/vllm_compile_cache.py": data, "ab/other_compile_cache.py": data})
    assert artifacts_below(tmp_path) == (
        ["ab/other_compile_cache.py"],
        ["vllm_compile_cache.py"],
    )
