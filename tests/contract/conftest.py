"""What the tests of remotes share."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("b10_store.testing.contract")
