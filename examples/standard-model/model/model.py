"""A model server's model: warm when another replica has compiled it before."""

from __future__ import annotations

import logging
from typing import Any

import torch

from b10_transfer import OperationStatus, load_compile_cache_async, save_compile_cache

logging.basicConfig(level=logging.INFO)  # b10_transfer says in one line each what it did
logger = logging.getLogger(__name__)

SHAPES = (1, 8, 32)
"""The batch sizes that will be served: each is compiled before the first request."""

WIDTH = 512
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Model:
    """Loads once, then answers."""

    def __init__(self, **_: object) -> None:
        """Nothing is loaded yet."""
        self.network: Any = None

    def load(self) -> None:
        """Read the weights, compile, and warm up."""
        cache = load_compile_cache_async()  # beside the reading of the weights
        network = read_weights().to(DEVICE).eval()
        if cache.result(timeout=120) is OperationStatus.ERROR:
            logger.warning("no compile cache: this start takes as long as a first one")
        self.network = torch.compile(network)
        for batch in SHAPES:
            self.predict({"inputs": torch.zeros(batch, WIDTH).tolist()})
        # Whatever the load returned: nothing new costs next to nothing, and what was compiled
        # beyond what was loaded is there for the next replica.
        save_compile_cache()

    @torch.inference_mode()
    def predict(self, request: dict[str, Any]) -> dict[str, Any]:
        """Answer one request."""
        inputs = torch.tensor(request["inputs"], device=DEVICE)
        return {"outputs": self.network(inputs).tolist()}


def read_weights() -> torch.nn.Module:
    """Stands for the minutes that a real model takes to read."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.LayerNorm(WIDTH),
        torch.nn.Linear(WIDTH, WIDTH),
        torch.nn.GELU(),
        torch.nn.Linear(WIDTH, 16),
    )
