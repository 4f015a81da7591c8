"""Minutes of fuzzing guided by coverage, where atheris can be installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.byte_targets import TARGETS
from tests.support.sites import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = int(os.environ.get("B10_FUZZ_SECONDS", "60"))


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: it has wheels for Linux on x86-64 alone",
)
@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_raise_anything_but_a_refusal(tmp_path: Path, target: str) -> None:
    (tmp_path / "corpus").mkdir()
    for number, seed in enumerate(TARGETS[target].seeds()):
        (tmp_path / "corpus" / str(number)).write_bytes(seed)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.support.byte_targets", target),
            *(f"-max_total_time={_SECONDS}", "-rss_limit_mb=1024", "-timeout=20"),
            *("-max_len=200000", "-detect_leaks=0", f"-artifact_prefix={tmp_path}/"),
            str(tmp_path / "corpus"),
        ],
        cwd=CHECKOUT,
        capture_output=True,
        timeout=_SECONDS + 120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
