"""Model folders of true layout whose weights are a few bytes, for tests that load nothing."""

import json
from pathlib import Path
from typing import Any

INDEX: dict[str, Any] = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.42.1",
    "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
    "feature_extractor": [None, None],
    "requires_safety_checker": True,
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def weights() -> bytes:
    """A safetensors file of one number."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")


def paper_model(folder: Path, *, unet_config: dict[str, Any] | None = None, **index: Any) -> Path:
    """A Stable Diffusion folder on paper: everything is there but the numbers.

    Args:
        folder: Where to write it.
        unet_config: What the UNet's configuration says besides.
        index: Entries of `model_index.json` that differ.
    """
    write_json(folder / "model_index.json", {**INDEX, **index})
    scheduler = {
        "_class_name": "PNDMScheduler",
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
    }
    write_json(folder / "scheduler" / "scheduler_config.json", scheduler)
    write_json(folder / "tokenizer" / "vocab.json", {"a": 0})
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n", "utf-8")
    write_json(folder / "unet" / "config.json", {"sample_size": 64, "in_channels": 4, **(unet_config or {})})
    write_json(folder / "vae" / "config.json", {"block_out_channels": [1, 2, 3, 4], "latent_channels": 4})
    write_json(folder / "text_encoder" / "config.json", {"hidden_size": 8})
    files = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model"}
    for name, file in files.items():
        (folder / name / f"{file}.safetensors").write_bytes(weights())
    return folder
