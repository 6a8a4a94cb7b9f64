"""Further arguments inside the prompt, as clients of stable-diffusion.cpp's server hide them here too.

Source: leejet/stable-diffusion.cpp, `examples/server/api.md`; how they are read is in
`protocols.prompt_arguments`.
"""

from collections.abc import Mapping
from typing import Any, Final

from sdenv.protocols.a1111.values import Body, table
from sdenv.protocols.prompt_arguments import extra_arguments

EXTRA_ARGUMENTS: Final = "<sd_cpp_extra_args>"
_NAMES: Final[Mapping[str, str]] = {
    "sampler": "sampler_name",
    "schedule": "scheduler",
    "guidance_scale": "cfg_scale",
    "strength": "denoising_strength",
    "n": "n_iter",
}
"""What a plain field is called in a body of this API, where it has another name."""


def with_extra_arguments(body: Body) -> Body:
    """The body, with the fields that stand in its prompt; where both say something, the prompt does.

    Raises:
        InvalidRequest: What stands there is not a JSON object.
    """
    prompt = body.get("prompt")
    extra = extra_arguments(prompt) if isinstance(prompt, str) else {}
    if not extra:
        return body
    named: dict[str, Any] = {_NAMES.get(name, name): value for name, value in extra.items()}
    if "n_iter" in named:
        named.setdefault("batch_size", 1)
    skip = named.pop("clip_skip", None)
    if isinstance(skip, int) and skip > 0:
        settings = dict(table(body, "override_settings"))
        named["override_settings"] = settings | {"CLIP_stop_at_last_layers": skip}
    return {**body, **named}
