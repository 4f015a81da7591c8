"""Models small enough to compile in seconds, for the demo and the integration tests.

Weights and inputs are seeded: every replica builds the same model and is given the same
input, so outputs of different processes can be compared bit by bit.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

_VOCABULARY = 256
_HEADS = 4
_COLORS = 3

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
    """A decoder-only language model: token ids to probabilities.

    Args:
        widths: Of its blocks, one each.
    """

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, widths[0])
        steps = pairwise((*widths, _VOCABULARY))
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


class DeepPerceptron(nn.Module):
    """Layers of growing width, each with a kernel of its own for what follows the product."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, 32)
        self.layers = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(width, following), nn.GELU(), nn.Softmax(dim=-1))
                for width, following in pairwise(range(32, 256, 32))
            )
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one activation per token and feature, float32."""
        activated: Tensor = self.layers(self.embedding(tokens))
        return activated


class Convolutions(nn.Module):
    """An image classifier: convolutions with batch norm, pooling, and a linear map.

    Args:
        channels: After each convolution.
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        # Softplus: an activation that oneDNN cannot take into its convolution remains a kernel.
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.Softplus()
                )
                for before, after in pairwise((_COLORS, *channels))
            ),
            nn.MaxPool2d(2),
        )
        self.classes = nn.Linear(channels[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images of shape (batch, colors, height, width) to log probabilities of classes."""
        features: Tensor = self.features(images)
        scores: Tensor = self.classes(features.mean(dim=(2, 3)))
        return scores.log_softmax(dim=-1)


class Products(nn.Module):
    """Attention written out, in batched matrix products: of those Inductor has templates to tune.

    Its templates for a product with a weight are tried only on frozen weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(_VOCABULARY, _WIDTHS[0])

    def forward(self, tokens: Tensor) -> Tensor:
        """Return one mixed state per token and feature, float32."""
        states: Tensor = self.embedding(tokens)
        scores = torch.bmm(states, states.transpose(1, 2).contiguous())
        return torch.bmm(scores.softmax(dim=-1), states.tanh())


_MODELS: dict[str, Callable[[], nn.Module]] = {
    "transformer": lambda: Transformer(_WIDTHS),
    "one-block-transformer": lambda: Transformer((64,)),
    "gelu-perceptron": lambda: Perceptron(nn.GELU()),
    "tanh-perceptron": lambda: Perceptron(nn.Tanh()),
    "deep-perceptron": DeepPerceptron,
    "convolutions": lambda: Convolutions((8, 16)),
    "deep-convolutions": lambda: Convolutions(tuple(range(4, 44, 4))),
    "products": Products,
}


def build(name: str) -> nn.Module:
    """Build a model with weights that are the same in every process.

    Raises:
        KeyError: No model has this name.
    """
    torch.default_generator.manual_seed(0)
    return _MODELS[name]().eval()


def example(name: str, length: int) -> Tensor:
    """Return an input of a model, the same in every process.

    Args:
        name: Of the model.
        length: In tokens; for a model of images, their height and width in pixels.
    """
    generator = torch.Generator().manual_seed(length)
    if name.endswith("convolutions"):
        return torch.rand(4, _COLORS, length, length, generator=generator)
    return torch.randint(0, _VOCABULARY, (1, length), generator=generator)
