"""Flux image generation: the transformer and the decoder are compiled once for all replicas."""

from __future__ import annotations

import base64
import io
from typing import Any

import torch
from diffusers import FluxPipeline

from b10_tcache import load_compile_cache, save_compile_cache

SIZES = ((1024, 1024), (1216, 832), (896, 1152))
"""Width and height of what will be served."""


class Model:
    """Loads once, then answers."""

    def __init__(self, config: dict[str, Any], secrets: dict[str, str], **_: object) -> None:
        """Read the configuration."""
        self.name = config["model_metadata"]["repo_id"]
        self.token = secrets["hf_access_token"]
        self.pipe: Any = None

    def load(self) -> None:
        """Read the weights, load the cache, compile, warm up, and save."""
        self.pipe = FluxPipeline.from_pretrained(
            self.name, torch_dtype=torch.bfloat16, token=self.token
        ).to("cuda")
        cache_loaded = load_compile_cache()
        for part, method in ((self.pipe, "transformer"), (self.pipe.vae, "decode")):
            compiled = torch.compile(
                getattr(part, method), mode="max-autotune-no-cudagraphs", dynamic=False
            )
            setattr(part, method, compiled)
        for width, height in SIZES:
            for _ in range(2):
                self.predict({"prompt": "dummy prompt", "width": width, "height": height})
        # As the older package had it. Without the condition, what a replica compiles beyond what
        # it loaded (another size, say) would be saved as well.
        if not cache_loaded:
            save_compile_cache()

    def predict(self, request: dict[str, Any]) -> dict[str, str]:
        """Make one image: a JPEG in base64."""
        generator = torch.Generator()
        if "seed" in request:
            generator.manual_seed(request["seed"])
        else:
            generator.seed()
        image = self.pipe(
            prompt=request["prompt"],
            prompt_2=request.get("prompt2"),
            guidance_scale=0.0,  # schnell is distilled without guidance
            max_sequence_length=request.get("max_sequence_length", 256),
            num_inference_steps=request.get("num_inference_steps", 4),
            width=request.get("width", 1024),
            height=request.get("height", 1024),
            output_type="pil",
            generator=generator,
        ).images[0]
        file = io.BytesIO()
        image.save(file, format="JPEG")
        return {"data": base64.b64encode(file.getvalue()).decode()}
