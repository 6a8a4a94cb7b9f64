"""`sdenv generate`: the flags, and where to go with them."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

import typer

from sdenv.cli import options
from sdenv.cli.options import BACKEND, INPUT, OUTPUT, REQUEST, WATCHING, flag
from sdenv.cli.tree import command_app

_request = partial(flag, REQUEST)
_input = partial(flag, INPUT)
_output = partial(flag, OUTPUT)
_WAYS: Final = options.one_of("auto", "off", "kitty", "iterm", "sixel", "blocks")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateFlags:
    """What `sdenv generate` was told; None = not said."""

    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROMPT", help='What to draw; several make several; "-" reads them from stdin.'
        ),
    ] = None

    model: Annotated[
        str | None, _request("-m --model", "NAME|FOLDER", "Model to use.", options.model_names)
    ] = None
    negative: Annotated[str | None, _request("-n --negative", "TEXT", "What to avoid.")] = None
    size: Annotated[str | None, _request("--size", "WxH", "Picture size in pixels.")] = None
    width: Annotated[int | None, _request("-W --width", "PX", "Picture width.")] = None
    height: Annotated[int | None, _request("-H --height", "PX", "Picture height.")] = None
    steps: Annotated[int | None, _request("-s --steps", "N", "Denoising steps, 1 to 1000.")] = None
    guidance: Annotated[
        float | None, _request("-g --guidance", "SCALE", "How closely to follow the prompt; 1 = off.")
    ] = None
    seed: Annotated[
        int | None,
        _request("--seed", "N", "Same seed, same picture; picture i of several has seed + i."),
    ] = None
    sampler: Annotated[
        str | None,
        _request("--sampler", "NAME", 'For example "DPM++ 2M" or "Euler a".', options.sampler_names),
    ] = None
    schedule: Annotated[
        str | None,
        _request("--schedule", "NAME", "Noise schedule, for example Karras.", options.schedule_names),
    ] = None
    count: Annotated[int | None, _request("-c --count", "N", "Pictures a prompt, 1 to 16.")] = None
    batch: Annotated[int | None, _request("--batch", "N", "How many of them at once.")] = None
    lora: Annotated[list[str] | None, _request("--lora", "NAME[:WEIGHT]", "A low-rank adapter.")] = None
    clip_skip: Annotated[
        int | None, _request("--clip-skip", "N", "Stop the text encoder early; 1 = at its last layer.")
    ] = None
    hires: Annotated[float | None, _request("--hires", "SCALE", "A second pass at a larger size.")] = None
    upscale: Annotated[float | None, _request("--upscale", "SCALE", "Enlarge the finished picture.")] = None
    vae: Annotated[str | None, _request("--vae", "NAME", "Another autoencoder.")] = None
    fit: Annotated[
        bool,
        _request("--fit", "", "Make the nearest size that the model can, and resample to the one asked for."),
    ] = False
    allow_degraded: Annotated[
        bool, _request("--allow-degraded", "", "Leave out what the backend cannot do, and say so.")
    ] = False

    init_image: Annotated[str | None, _input("--init-image", "FILE|-", "Start from this picture.")] = None
    mask: Annotated[
        str | None, _input("--mask", "FILE|-", "White = repaint, black = keep; the init image's size.")
    ] = None
    strength: Annotated[
        float | None, _input("--strength", "0..1", "How far to move away from the init image.")
    ] = None
    control: Annotated[
        list[str] | None,
        _input("--control", "TYPE=IMAGE[:WEIGHT]", "A picture that steers: sketch, depth, canny, pose, ..."),
    ] = None
    from_picture: Annotated[
        str | None,
        _input("--from", "PICTURE", "Make this picture again; flags beside it change what they name."),
    ] = None
    request: Annotated[
        str | None,
        _input("--request", "FILE|-", "Requests as JSON: an object, a list, or one object a line."),
    ] = None
    prompts_file: Annotated[str | None, _input("--prompts", "FILE|-", "Prompts from a file, one a line.")] = (
        None
    )

    output: Annotated[
        str | None,
        _output("-o --output", "PLACE", "A file, a folder/, a template as {date}/{prompt}-{seed}.png, or -."),
    ] = None
    force: Annotated[bool, _output("--force", "", "Replace files that exist.")] = False
    strip_metadata: Annotated[
        bool, _output("--strip-metadata", "", "Do not write into the picture how it was made.")
    ] = False
    history: Annotated[
        bool | None,
        _output(
            "--history/--no-history", "", "Keep in the history what is made, or not; see `sdenv history`."
        ),
    ] = None
    detach: Annotated[
        bool,
        _output(
            "--detach", "", "Hand the work to a server, print the ids of the jobs and end; see `sdenv jobs`."
        ),
    ] = False
    dry_run: Annotated[
        bool, _output("--dry-run", "", "Print what would be made, or why it is refused; make nothing.")
    ] = False

    progress: options.Progress = None
    preview: Annotated[
        str | None,
        flag(
            WATCHING, "--preview", "HOW", "auto, off, kitty, iterm, sixel, blocks; or every N steps.", _WAYS
        ),
    ] = None
    show: Annotated[
        bool | None,
        flag(WATCHING, "--show/--no-show", "", "Show the finished picture in the terminal, or not."),
    ] = None
    json_lines: options.Json = False
    quiet: options.Quiet = False
    debug: options.Debug = False
    color: options.Color = None

    backend: Annotated[
        str | None,
        flag(BACKEND, "-b --backend", "NAME|URL", "What makes the picture.", options.backend_names),
    ] = None
    option: Annotated[
        list[str] | None, flag(BACKEND, "-O --option", "KEY=VALUE", "An option of the backend.")
    ] = None
    no_warm: Annotated[
        bool,
        flag(BACKEND, "--no-warm", "", "Load the model here, even if a server of yours has it loaded."),
    ] = False
    profile: options.Profile = None


_EXAMPLES: Final = """
sdenv generate "a pizza, 3d"
sdenv generate "a rocket, flat" "a cat, 3d" -c 4 --seed 7 -o 'out/{prompt}-{seed}.png'
sdenv generate "a tiger, flat" --init-image cat.png --strength 0.6
sdenv generate --from pizza.png --steps 40
sdenv generate "a tree, flat" -b http://gpu:9090 --detach
echo "a leaf, flat" | sdenv generate - -o - > leaf.png
"""

_HELP: Final = """Make pictures from text, or from a picture and text.

The path of each picture is printed on stdout, one a line; everything for people goes to stderr."""


def _generate(flags: GenerateFlags) -> None:
    from sdenv.cli.run import generate

    generate(flags)


app = command_app(options.command_from(GenerateFlags, _generate, _HELP), name="generate", epilog=_EXAMPLES)
