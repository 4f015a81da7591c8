"""Another release of torch, as far as it can be told without importing it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.cache_trees import write_tree

if TYPE_CHECKING:
    from tests.support.sites import Host


def with_other_torch(host: Host, version: str = "9.9.0", **changes: str | None) -> dict[str, str]:
    """The variables of a host whose Python finds another torch; its files are read, never run."""
    folder = host.folder / f"torch {version}"
    write_tree(
        folder,
        {
            "torch/__init__.py": b"raise AssertionError('torch was imported')",
            "torch/version.py": (
                f"__version__ = '{version}'\ncuda = None\nhip = None\ngit_version = 'abc'\n"
            ).encode(),
        },
    )
    variables = host.variables(**changes)
    path = os.pathsep.join([str(folder), variables["PYTHONPATH"]])
    return {**variables, "PYTHONPATH": path}
