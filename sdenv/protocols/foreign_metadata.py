"""How pictures of other programs say how they were made: InvokeAI, Draw Things, ComfyUI, NovelAI.

Each reader takes the texts of a PNG by keyword and gives the request as values for `parse_request`, or None
if they are not what it reads. Only what has a counterpart in a request is taken. Texts come from strangers:
their size is limited by whoever read the file, XML with a document type (the door for entities) is refused,
cycles end.
"""

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final
from xml.etree import ElementTree

Texts = Mapping[str, str]
Values = dict[str, Any]

MISSING: Final = {"sha256": ""}
"""Stands for an input picture that the program did not keep."""

_XMP: Final = "XML:com.adobe.xmp"
_EXIF_COMMENT: Final = "{http://ns.adobe.com/exif/1.0/}UserComment"
_SIZE: Final = re.compile(r"(\d+)\s*x\s*(\d+)")
_DREAM: Final = re.compile(r'^\s*"(?P<prompt>.*)"\s*(?P<options>-.*)?$', re.DOTALL)
_IN_BRACKETS: Final = re.compile(r"\[([^\[\]]*)\]")
_DREAM_OPTIONS: Final[Mapping[str, str]] = {
    "-s": "steps",
    "-S": "seed",
    "-W": "width",
    "-H": "height",
    "-C": "guidance_scale",
    "-A": "sampler",
}


def read_invokeai(texts: Texts) -> Values | None:
    """InvokeAI 3 and later: `invokeai_metadata`, JSON."""
    found = _object(texts.get("invokeai_metadata"))
    if found is None or "positive_prompt" not in found:
        return None
    values = _renamed(
        found,
        prompt="positive_prompt",
        negative_prompt="negative_prompt",
        width="width",
        height="height",
        seed="seed",
        guidance_scale="cfg_scale",
        steps="steps",
        sampler="scheduler",
    )
    values |= _named("model", _model_name(found.get("model")))
    for each in _objects(found, "loras"):
        each["name"] = _model_name(each.get("model", each.get("lora")))
    values |= _loras((each["name"], each.get("weight")) for each in _objects(found, "loras"))
    if found.get("init_image") or found.get("generation_mode") == "img2img":
        values |= _from_picture(found.get("strength"))
    return values


def read_invokeai_2(texts: Texts) -> Values | None:
    """InvokeAI 2: `sd-metadata`, JSON; its negative prompt stands in brackets."""
    found = _object(texts.get("sd-metadata"))
    image = None if found is None else found.get("image")
    if found is None or not isinstance(image, dict):
        return None
    values = _renamed(
        image,
        width="width",
        height="height",
        seed="seed",
        guidance_scale="cfg_scale",
        steps="steps",
        sampler="sampler",
    )
    prompt = image.get("prompt", "")
    parts = [str(each.get("prompt", "")) for each in _objects(image, "prompt")] or [str(prompt)]
    values |= _prompts_in_brackets(" ".join(parts))
    values |= _named("model", found.get("model_weights"))
    return values | (_from_picture(image.get("strength")) if image.get("type") == "img2img" else {})


def read_dream(texts: Texts) -> Values | None:
    """InvokeAI 1: `Dream`, a command line such as `"a fox [blurry]" -s 50 -S 42 -C 7.5 -A k_lms`."""
    found = _DREAM.match(texts.get("Dream", ""))
    if found is None:
        return None
    values = _prompts_in_brackets(found["prompt"])
    try:
        words = shlex.split(found["options"] or "")
    except ValueError:
        return None
    for option, value in pairwise(words):
        if option in _DREAM_OPTIONS:
            values[_DREAM_OPTIONS[option]] = value
    return values


def read_draw_things(texts: Texts) -> Values | None:
    """Draw Things: XMP whose exif:UserComment is JSON."""
    found = _object(_xmp_comment(texts.get(_XMP, "")))
    if found is None or "c" not in found:
        return None
    values = _renamed(
        found,
        prompt="c",
        negative_prompt="uc",
        steps="steps",
        sampler="sampler",
        guidance_scale="scale",
        seed="seed",
        model="model",
        clip_skip="clip_skip",
    )
    if size := _SIZE.fullmatch(str(found.get("size", ""))):
        values["width"], values["height"] = size[1], size[2]
    values |= _loras((each.get("model"), each.get("weight")) for each in _objects(found, "lora"))
    strength = found.get("strength")
    return values | (_from_picture(strength) if isinstance(strength, (int, float)) and strength < 1 else {})


def read_comfyui(texts: Texts) -> Values | None:
    """ComfyUI: `prompt`, the graph; its sampler is the node with a seed and steps, all else hangs on it."""
    graph = _object(texts.get("prompt"))
    sampler = None if graph is None else next(filter(_is_sampler, _nodes(graph)), None)
    if graph is None or sampler is None:
        return None
    values = _renamed(sampler, seed="seed", steps="steps", guidance_scale="cfg", schedule="scheduler")
    values |= _renamed(sampler, seed="noise_seed")
    values |= _named("sampler", str(sampler.get("sampler_name", "")).removesuffix("_gpu"))
    values |= _named("prompt", _upstream_value(graph, sampler.get("positive"), "text", "text_g"))
    values |= _named("negative_prompt", _upstream_value(graph, sampler.get("negative"), "text", "text_g"))
    values |= _named("model", _upstream_value(graph, sampler.get("model"), "ckpt_name", "unet_name"))
    values |= _named("width", _upstream_value(graph, sampler.get("latent_image"), "width"))
    values |= _named("height", _upstream_value(graph, sampler.get("latent_image"), "height"))
    adapters = [node for node in _upstream(graph, sampler.get("model")) if "lora_name" in node]
    values |= _loras((node["lora_name"], node.get("strength_model")) for node in reversed(adapters))
    strength = sampler.get("denoise")
    return values | (_from_picture(strength) if isinstance(strength, (int, float)) and strength < 1 else {})


def read_novelai(texts: Texts) -> Values | None:
    """NovelAI: Software, Description = prompt, Comment = JSON."""
    found = _object(texts.get("Comment")) if texts.get("Software") == "NovelAI" else None
    if found is None:
        return None
    values = _renamed(
        found,
        negative_prompt="uc",
        steps="steps",
        sampler="sampler",
        schedule="noise_schedule",
        seed="seed",
        guidance_scale="scale",
        width="width",
        height="height",
    )
    return values | _named("prompt", found.get("prompt") or texts.get("Description"))


READERS: Final[tuple[tuple[str, Callable[[Texts], Values | None]], ...]] = (
    ("invokeai_metadata", read_invokeai),
    ("XMP", read_draw_things),
    ("prompt", read_comfyui),
    ("sd-metadata", read_invokeai_2),
    ("Dream", read_dream),
    ("NovelAI", read_novelai),
)
"""Name of the source and its reader, in the order in which they are asked."""


def _object(text: str | None) -> dict[str, Any] | None:
    """A JSON object; Python's reader takes the NaN that ComfyUI may write."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _objects(values: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = values.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _named(name: str, value: object) -> Values:
    """The value under its name, or nothing if there is none."""
    return {name: value} if isinstance(value, (str, int, float)) and value != "" else {}


def _renamed(found: Mapping[str, Any], **names: str) -> Values:
    values: Values = {}
    for name, foreign_name in names.items():
        values |= _named(name, found.get(foreign_name))
    return values


def _from_picture(strength: object) -> Values:
    """What says that the picture was made from another one, which is not inside."""
    return {"init_image": MISSING} | _named("strength", strength)


def _loras(found: Iterator[tuple[Any, Any]]) -> Values:
    loras = [
        {"name": name, **_named("weight", weight)} for name, weight in found if isinstance(name, str) and name
    ]
    return {"loras": loras} if loras else {}


def _model_name(found: object) -> object:
    """InvokeAI's name of a model, under its newer or its older key."""
    return found.get("name") or found.get("model_name") if isinstance(found, dict) else found


def _prompts_in_brackets(text: str) -> Values:
    negative = " ".join(_IN_BRACKETS.findall(text)).strip()
    return {"prompt": _IN_BRACKETS.sub("", text).strip()} | _named("negative_prompt", negative)


def _xmp_comment(text: str) -> str:
    """The text of exif:UserComment, as element or attribute; empty if there is none."""
    if "<!DOCTYPE" in text:  # the only place where entities are defined
        return ""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return ""
    for element in root.iter():
        if element.tag == _EXIF_COMMENT:
            return "".join(element.itertext()).strip()
        if _EXIF_COMMENT in element.attrib:
            return element.attrib[_EXIF_COMMENT]
    return ""


def _nodes(graph: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The inputs of every node of a ComfyUI graph."""
    for node in graph.values():
        if isinstance(node, dict) and isinstance(node.get("inputs"), dict):
            yield node["inputs"]


def _is_sampler(inputs: Mapping[str, Any]) -> bool:
    return "steps" in inputs and bool({"seed", "noise_seed"} & inputs.keys())


def _upstream(graph: Mapping[str, Any], link: object) -> Iterator[dict[str, Any]]:
    """The inputs of the node behind a link `[node id, output]` and of all behind that, each once."""
    pending, seen = [link], set[str]()
    while pending:
        node_id = _linked(pending.pop(0))
        node = graph.get(node_id) if node_id is not None and node_id not in seen else None
        if node_id is None or not isinstance(node, dict) or not isinstance(node.get("inputs"), dict):
            continue
        seen.add(node_id)
        yield node["inputs"]
        pending += node["inputs"].values()


def _linked(value: object) -> str | None:
    return str(value[0]) if isinstance(value, list) and len(value) == 2 else None


def _upstream_value(graph: Mapping[str, Any], link: object, *names: str) -> object:
    """The first value of one of these names behind a link."""
    for inputs in _upstream(graph, link):
        for name in names:
            if isinstance(inputs.get(name), (str, int, float)):
                return inputs[name]
    return None
