"""From flags, files and stdin to requests; what can be wrong with them is said here, before any work."""

import io
import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from sdenv.cli.generate import GenerateFlags
from sdenv.cli.inputs import STDIN, StdinOnce, read_lines, read_picture, read_requests
from sdenv.core.errors import BadMask, InvalidRequest, UsageError
from sdenv.core.image import ImageData, size_of
from sdenv.core.request import GenerationRequest, parse_request
from sdenv.services.metadata import FITTED_TO, read_metadata
from sdenv.services.preferences import parse_size
from sdenv.services.settings import Settings


@final
@dataclass(frozen=True, slots=True)
class Wanted:
    """One request of the command.

    Attributes:
        request: What is asked for.
        only_index: The one picture of it to keep; None = all.
        fit: Make the nearest size and resample.
    """

    request: GenerationRequest
    only_index: int | None = None
    fit: bool = False

    @property
    def kept(self) -> GenerationRequest:
        """The request with as many pictures as are kept."""
        return self.request if self.only_index is None else self.request.model_copy(update={"count": 1})


@final
@dataclass(frozen=True, slots=True)
class Made:
    """What was made before, to be made again.

    Attributes:
        asked: What was asked for.
        done: The same with every decision that was made; as `asked` where that is not known.
        fitted: It was made at another size and resampled.
    """

    asked: GenerationRequest
    done: GenerationRequest
    fitted: bool = False


def gather(flags: GenerateFlags, settings: Settings) -> list[Wanted]:
    """Every request that the command line asks for, checked as far as is possible without a backend.

    Raises:
        UsageError: Flags that contradict each other, values outside their range, files that cannot be read.
    """
    _check_flags(flags)
    stdin = StdinOnce(sys.stdin.buffer if sys.stdin else io.BytesIO())
    said = _said(flags, stdin)
    if flags.from_picture is not None:
        found = [_again(flags, said, stdin)]
    elif flags.request is not None:
        found = [
            Wanted(
                _request({**_defaults(settings, {**values, **said}), **values, **said}, where), fit=flags.fit
            )
            for where, values in read_requests(flags.request, stdin)
        ]
    else:
        base = {**_defaults(settings, said), **said}
        found = [Wanted(_request({**base, "prompt": each}), fit=flags.fit) for each in _prompts(flags, stdin)]
    for wanted in found:
        _check_mask(wanted.request)
    return found


def _check_flags(flags: GenerateFlags) -> None:
    """Refuses flags that contradict each other."""
    if flags.size is not None and (flags.width is not None or flags.height is not None):
        raise UsageError("--size and -W/-H say the same thing twice.", hint="Give one of them.")
    sources = {"--from": flags.from_picture, "--request": flags.request, "--prompts": flags.prompts_file}
    given = [name for name, value in sources.items() if value is not None]
    if flags.prompts and flags.from_picture is None:
        given.append("PROMPT")
    if flags.from_picture is not None and flags.prompts and len(flags.prompts) > 1:
        raise UsageError(
            "--from makes one picture again, with one prompt at most.", hint="Give one prompt, or none."
        )
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)} each say what to draw.", hint="Give one of them.")
    _check_stdin(flags)


def _check_stdin(flags: GenerateFlags) -> None:
    """Refuses two uses of stdin, which can be read only once."""
    uses = {
        "--init-image": flags.init_image,
        "--mask": flags.mask,
        "--from": flags.from_picture,
        "--request": flags.request,
        "--prompts": flags.prompts_file,
        "PROMPT": STDIN if STDIN in (flags.prompts or ()) else None,
    }
    readers = [name for name, value in uses.items() if value == STDIN]
    if len(readers) > 1:
        raise UsageError(f"{' and '.join(readers)} both read stdin.", hint="Give one of them as a file.")


def _said(flags: GenerateFlags, stdin: StdinOnce) -> dict[str, Any]:
    """The fields of the request that the flags name; those that were not said are left out."""
    values: dict[str, Any] = {
        "model": flags.model,
        "negative_prompt": flags.negative,
        "width": flags.width,
        "height": flags.height,
        "steps": flags.steps,
        "guidance_scale": flags.guidance,
        "seed": flags.seed,
        "sampler": flags.sampler,
        "schedule": flags.schedule,
        "count": flags.count,
        "batch_size": flags.batch,
        "strength": flags.strength,
        "clip_skip": flags.clip_skip,
        "hires": None if flags.hires is None else {"scale": flags.hires},
        "upscale": flags.upscale,
        "vae": flags.vae,
        "init_image": _picture(flags.init_image, "--init-image", stdin),
        "mask": _picture(flags.mask, "--mask", stdin),
        "loras": tuple(_lora(each) for each in flags.lora or ()) or None,
        "controls": tuple(_control(each, stdin) for each in flags.control or ()) or None,
    }
    if flags.size is not None:
        values["width"], values["height"] = _size(flags.size)
    return {name: value for name, value in values.items() if value is not None}


def _picture(name: str | None, flag: str, stdin: StdinOnce) -> ImageData | None:
    return None if name is None else read_picture(name, flag, stdin)


def _size(text: str) -> tuple[int, int]:
    try:
        return parse_size(text)
    except ValueError as error:
        raise InvalidRequest(f"--size {text!r} is not a size.", why=f"{error}.") from error


def _lora(text: str) -> dict[str, Any]:
    name, weight = _weighted(text)
    return {"name": name} if weight is None else {"name": name, "weight": weight}


def _control(text: str, stdin: StdinOnce) -> dict[str, Any]:
    kind, separator, place = text.partition("=")
    if not (separator and kind and place):
        raise UsageError(
            f"--control {text!r} does not say which kind of control the picture is.",
            hint="--control TYPE=IMAGE[:WEIGHT], for example --control sketch=drawing.png:0.8",
        )
    name, weight = _weighted(place)
    values: dict[str, Any] = {"type": kind, "image": read_picture(name, "--control", stdin)}
    return values if weight is None else {**values, "weight": weight}


def _weighted(text: str) -> tuple[str, float | None]:
    """`name:0.8` as name and weight; a colon before anything but a number belongs to the name."""
    name, separator, tail = text.rpartition(":")
    if not separator or not name:
        return text, None
    try:
        return name, float(tail)
    except ValueError:
        return text, None


def _defaults(settings: Settings, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the user configured for every picture. A size is not put on an init image, which has its own."""
    values: dict[str, Any] = {
        "steps": settings.steps,
        "guidance_scale": settings.guidance_scale,
        "sampler": settings.sampler,
        "schedule": settings.schedule,
        "negative_prompt": settings.negative_prompt,
    }
    if settings.size is not None and not said.keys() & {"width", "height", "init_image"}:
        values["width"], values["height"] = settings.size
    return {name: value for name, value in values.items() if value is not None}


def _request(values: Mapping[str, Any], where: str = "") -> GenerationRequest:
    try:
        return parse_request(values)
    except InvalidRequest as error:
        if not where:
            raise
        raise InvalidRequest(f"{where} is not a valid request.", why=error.why, hint=error.hint) from error


def gather_again(made: Made, flags: GenerateFlags) -> Wanted:
    """What was made before, with what the flags change.

    With another model only what was asked for stays: what was decided for the old one may not suit it.

    Raises:
        UsageError: As `gather`.
    """
    _check_flags(flags)
    said = _said(flags, StdinOnce(sys.stdin.buffer if sys.stdin else io.BytesIO()))
    base = made.done
    if said.get("model", base.model) != base.model:
        base = made.asked.model_copy(update={"seed": made.done.seed})
    fields = {name: getattr(base, name) for name in type(base).model_fields}
    if flags.prompts:
        fields["prompt"] = flags.prompts[0]
    wanted = Wanted(_request({**fields, **said}), fit=flags.fit or made.fitted)
    _check_mask(wanted.request)
    return wanted


def _again(flags: GenerateFlags, said: dict[str, Any], stdin: StdinOnce) -> Wanted:
    """The request of a picture that exists, with what the flags change."""
    assert flags.from_picture is not None
    found = read_metadata(read_picture(flags.from_picture, "--from", stdin).data)
    request = found.request
    if found.missing:
        request = found.with_inputs({name: said[name] for name in ("init_image", "mask") if name in said})
    changes = dict(said)
    if flags.prompts:
        changes["prompt"] = flags.prompts[0]
    fitted_to = found.made_with.get(FITTED_TO)
    if fitted_to is not None and not said.keys() & {"width", "height"}:
        changes["width"], changes["height"] = _size(fitted_to)
    fields = {name: getattr(request, name) for name in type(request).model_fields}
    keeps_batch = not said.keys() & {"count", "seed"} and request.count > 1
    if not keeps_batch:
        fields.update(count=1, seed=found.seed)  # the picture's own, not that of the first one of its batch
    return Wanted(
        _request({**fields, **changes}),
        only_index=found.index if keeps_batch else None,
        fit=flags.fit or fitted_to is not None,
    )


def _prompts(flags: GenerateFlags, stdin: StdinOnce) -> list[str]:
    if flags.prompts_file is not None:
        return read_lines(flags.prompts_file, "--prompts", stdin)
    if not flags.prompts:
        if not stdin_is_piped():
            raise UsageError(
                "There is no prompt.",
                hint='sdenv generate "a pizza, 3d", or an empty one for a picture of the model\'s choice: ""',
            )
        return read_lines(STDIN, "the prompt", stdin)
    prompts: list[str] = []
    for prompt in flags.prompts:
        prompts += read_lines(STDIN, "the prompt", stdin) if prompt == STDIN else [prompt]
    return prompts


def stdin_is_piped() -> bool:
    """Whether somebody feeds stdin: a pipe or a file, not a terminal and not /dev/null."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _check_mask(request: GenerationRequest) -> None:
    if request.mask is None or request.init_image is None:
        return
    mask, init = size_of(request.mask, "the mask"), size_of(request.init_image, "the init image")
    if mask != init:
        raise BadMask(
            f"The mask has {mask[0]}x{mask[1]} pixels and the init image {init[0]}x{init[1]}.",
            why="A mask belongs to its picture pixel by pixel.",
            hint="Give a mask of the same size; white is repainted.",
        )
