"""sdenv's own share of a local picture: the backend with its events and PNG against the bare pipeline.

Both run in one process on the same model with equal settings, turn by turn: a busy machine slows both. The
ratio of the best times is printed, and the median of the ratios of neighbours. The claim is 2 % at most.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch

from sdenv.backends.local import LocalBackend, LocalSettings
from sdenv.backends.local.device import choose
from sdenv.backends.local.quiet import quieten
from sdenv.core.request import GenerationRequest
from sdenv.services.engine import Engine
from sdenv.services.models import built_in_path

PROMPT, SEED, STEPS, GUIDANCE = "a pizza, flat", 1, 20, 4.0
CLAIM = 1.02


def bare(folder: Path, side: int) -> Callable[[], object]:
    """One picture by diffusers alone, in the precision and memory format that sdenv chooses."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(
        folder, torch_dtype=choose().dtype, local_files_only=True
    )
    pipeline.unet.to(memory_format=torch.channels_last)
    pipeline.vae.to(memory_format=torch.channels_last)
    pipeline.set_progress_bar_config(disable=True)
    config: dict[str, Any] = pipeline.scheduler.config

    def picture() -> object:
        pipeline.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(config)
        with torch.inference_mode():
            return pipeline(
                PROMPT,
                width=side,
                height=side,
                num_inference_steps=STEPS,
                guidance_scale=GUIDANCE,
                generator=torch.Generator("cpu").manual_seed(SEED),
            ).images[0]

    return picture


def ours(engine: Engine, side: int) -> Callable[[], object]:
    """The same picture through an engine and the local backend, events and PNG included."""
    request = GenerationRequest(
        prompt=PROMPT,
        seed=SEED,
        steps=STEPS,
        guidance_scale=GUIDANCE,
        sampler="DPM++ 2M",
        width=side,
        height=side,
    )
    return lambda: engine.submit(request).result()


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one run."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measures and prints the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--model", type=Path, default=built_in_path(), help="a model folder")
    arguments = parser.parse_args()
    quieten()
    folder: Path = arguments.model
    backend = LocalBackend(LocalSettings(models={"m": str(folder)}))
    side = backend.probe().models[0].default_size[0]
    with Engine(backend, name="local") as engine:
        one, other = bare(folder, side), ours(engine, side)
        seconds(one), seconds(other)  # the first of each also loads and warms up
        pairs = [(seconds(one), seconds(other)) for _ in range(arguments.rounds)]
    best_bare, best_ours = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    median = statistics.median(mine / theirs for theirs, mine in pairs)
    print(f"local-share: bare {best_bare * 1000:.1f} ms, sdenv {best_ours * 1000:.1f} ms, {side} px")
    print(f"local-share ratio {best_ours / best_bare:.4f}, median of pairs {median:.4f} (claim: {CLAIM})")


if __name__ == "__main__":
    main()
