"""The defaults that sdenv chooses against those of diffusers: one step of Stable Diffusion 1.5 at 512 px.

A UNet of the true shape with random weights, twice a step (with and without the prompt) in one batch, as
diffusers does it: float32 in the usual memory order, against what `choose` picks for this machine. CPU
seconds of the best of the rounds; the claim is at most 0.4 on a CPU with AMX.
"""

import argparse
import gc
import time

import diffusers
import torch

from sdenv.backends.local.device import choose
from sdenv.backends.local.quiet import quieten

CLAIM = 0.4
CELLS, TOKENS, WIDTH = 64, 77, 768


def unet(dtype: torch.dtype) -> torch.nn.Module:
    """The UNet of Stable Diffusion 1.5 (`unet/config.json` of the published model)."""
    torch.manual_seed(0)
    made: torch.nn.Module = diffusers.UNet2DConditionModel(
        sample_size=CELLS,
        in_channels=4,
        out_channels=4,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        down_block_types=(*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
    )
    return made.to(dtype).eval()


def step_cpu_s(model: torch.nn.Module, dtype: torch.dtype, rounds: int) -> float:
    """CPU seconds of the best of so many steps, after one to warm up."""
    noise = torch.randn(2, 4, CELLS, CELLS, dtype=dtype)
    prompt = torch.randn(2, TOKENS, WIDTH, dtype=dtype)
    best = float("inf")
    with torch.inference_mode():
        for round_number in range(rounds + 1):
            started = time.process_time()
            model(noise, torch.tensor(500), encoder_hidden_states=prompt)
            if round_number:
                best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Measures and prints the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    quieten()
    choice = choose("cpu")
    plain = step_cpu_s(unet(torch.float32), torch.float32, rounds)
    gc.collect()
    chosen_model = unet(choice.dtype)
    chosen_model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    chosen = step_cpu_s(chosen_model, choice.dtype, rounds)
    print(f"sd15-step: float32 {plain:.2f} CPU-s, {choice.precision} channels-last {chosen:.2f} CPU-s")
    print(f"sd15-step ratio {chosen / plain:.3f} (claim: at most {CLAIM} on a CPU with AMX)")


if __name__ == "__main__":
    main()
