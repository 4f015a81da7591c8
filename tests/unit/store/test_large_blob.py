from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
MEBIBYTES = 200
MEMORY_LIMIT = 64 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_a_blob_of_200_mb_is_written_and_read_in_bounded_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.large_blob", str(tmp_path), str(MEBIBYTES)]
    answer = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    report = json.loads(answer.stdout)
    assert report["right"]
    assert report["frames"] == MEBIBYTES
    assert report["growth"] < MEMORY_LIMIT
