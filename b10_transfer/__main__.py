"""`python -m b10_transfer`: the command line."""

from __future__ import annotations

import sys

from b10_transfer.cli import main

sys.exit(main())
