"""Models small enough to compile in seconds, for the demo and the integration tests.

Weights and inputs are seeded: every replica builds the same model and is given the same
input, so outputs of different processes can be compared bit by bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

_VOCABULARY = 256
_HEADS = 4

# Blocks of equal width share their kernels, and a model of three kernels starts cold too fast to
# be a model of anything: each block has a width of its own.
_WIDTHS = (32, 64, 96, 128)


class Block(nn.Module):
    """One pre-norm transformer block with causal attention, and a map to the next width."""

    def __init__(self, width: int, next_width: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.widen = nn.Linear(width, next_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden states of shape (batch, length, width) to the next block's."""
        batch, length, width = hidden.shape
        projected: Tensor = self.query_key_value(self.attention_norm(hidden))
        heads = projected.view(batch, length, 3 * _HEADS, width // _HEADS).transpose(1, 2)
        query, key, value = heads.chunk(3, dim=1)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        joined = mixed.transpose(1, 2).reshape(batch, length, width)
        attended: Tensor = hidden + self.projection(joined)
        fed: Tensor = self.feed_forward(self.feed_forward_norm(attended))
        widened: Tensor = self.widen(attended + fed)
        return widened


class Transformer(nn.Module):
    """A decoder-only language model of four blocks: token ids to probabilities."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, _WIDTHS[0])
        steps = zip(_WIDTHS, (*_WIDTHS[1:], _VOCABULARY), strict=True)
        self.blocks = nn.Sequential(*(Block(width, following) for width, following in steps))

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the probabilities of the next token at every place, float32."""
        scores: Tensor = self.blocks(self.embedding(tokens))
        return scores.softmax(dim=-1)


class Perceptron(nn.Module):
    """Two element-wise kernels around one matrix product: about the cheapest real compile.

    Args:
        activation: Another one makes another kernel, and so other artifacts.
    """

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, _WIDTHS[0])
        self.inner = nn.Linear(_WIDTHS[0], _WIDTHS[0])
        self.activation = activation

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one activation per token and feature, float32."""
        activated: Tensor = self.activation(self.inner(self.embedding(tokens)))
        return activated


_MODELS: dict[str, Callable[[], nn.Module]] = {
    "transformer": Transformer,
    "gelu-perceptron": lambda: Perceptron(nn.GELU()),
    "tanh-perceptron": lambda: Perceptron(nn.Tanh()),
}


def build(name: str) -> nn.Module:
    """Build a model with weights that are the same in every process.

    Raises:
        KeyError: No model has this name.
    """
    torch.default_generator.manual_seed(0)
    return _MODELS[name]().eval()


def tokens(length: int) -> Tensor:
    """Return token ids of shape (1, length), the same in every process."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(0, _VOCABULARY, (1, length), generator=generator)
