"""The examples, run as they are: cold, and warm on a second host."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.programs import run_python
from tests.support.sites import CHECKOUT, Site
from tools.replica import artifacts_below

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.sites import Host

pytestmark = [pytest.mark.torch, pytest.mark.slow]

STANDARD = """
import json
from model import Model
model = Model()
model.load()
print(json.dumps(model.predict({"inputs": [[0.25] * 512] * 8})))
"""

FLUX = """
from model import Model
model = Model(config={"model_metadata": {"repo_id": "some/flux"}}, secrets={"hf_access_token": "x"})
model.load()
print(model.predict({"prompt": "a fox", "seed": 1})["data"])
"""

PIPELINE = '''
"""In the place of the real package, which needs a GPU and a model hub: a pipeline that computes."""

import types

import torch


class Image:
    def __init__(self, pixels):
        self.pixels = pixels

    def save(self, file, format):
        assert format == "JPEG"
        file.write(self.pixels.to(torch.float32).numpy().tobytes())


class Decoder(torch.nn.Module):
    def decode(self, latent):
        return torch.sigmoid(latent) * 2 - 1


class FluxPipeline:
    @classmethod
    def from_pretrained(cls, name, torch_dtype, token):
        return cls(torch_dtype)

    def __init__(self, dtype):
        torch.manual_seed(0)
        self.transformer = torch.nn.Sequential(torch.nn.LayerNorm(64), torch.nn.GELU()).to(dtype)
        self.vae = Decoder()
        self.dtype = dtype

    def to(self, device):
        assert device == "cuda"
        return self

    @torch.inference_mode()
    def __call__(self, *, width, height, generator, num_inference_steps, **others):
        assert others["guidance_scale"] == 0.0
        latent = torch.randn(height // 32, width // 32, 64, generator=generator).to(self.dtype)
        for _ in range(num_inference_steps):
            latent = self.transformer(latent)
        return types.SimpleNamespace(images=[Image(self.vae.decode(latent))])
'''


def run_example(host: Host, name: str, code: str, *paths: Path) -> str:
    # One TMPDIR for all hosts: torch builds its precompiled header once, and it is left out.
    variables = host.variables(B10_CACHE_ROOTS="inductor", TMPDIR=str(host.folder.parent))
    folders = [str(CHECKOUT / "examples" / name / "model"), *map(str, paths)]
    variables["PYTHONPATH"] = ":".join([*folders, variables["PYTHONPATH"]])
    done = run_python(code, variables, warnings="default")
    assert done.returncode == 0, done.stderr
    return done.stdout


def contents(host: Host) -> dict[str, bytes]:
    return {path: (host.root / path).read_bytes() for path in artifacts_below(host.root)}


def assert_the_second_host_compiled_nothing(first: Host, second: Host) -> None:
    cold, warm = contents(first), contents(second)
    assert any(path.startswith("fxgraph/") for path in cold)
    assert warm == cold


def test_the_standard_model_starts_warm_on_the_second_host(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first, second = site.host("first"), site.host("second")
    cold = run_example(first, "standard-model", STANDARD)
    assert len(json.loads(cold)["outputs"]) == 8
    assert run_example(second, "standard-model", STANDARD) == cold
    assert_the_second_host_compiled_nothing(first, second)


def test_the_older_example_starts_warm_on_the_second_host(tmp_path: Path) -> None:
    (tmp_path / "stand-ins").mkdir()
    (tmp_path / "stand-ins" / "diffusers.py").write_text(PIPELINE)
    site = Site(tmp_path)
    first, second = site.host("first"), site.host("second")
    cold = run_example(first, "flux", FLUX, tmp_path / "stand-ins")
    assert run_example(second, "flux", FLUX, tmp_path / "stand-ins") == cold
    assert_the_second_host_compiled_nothing(first, second)
