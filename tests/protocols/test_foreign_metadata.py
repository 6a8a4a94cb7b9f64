"""What other programs write into their pictures becomes a request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.request import LoRA, parse_request
from sdenv.core.samplers import with_public_names
from sdenv.protocols.foreign_metadata import MISSING, READERS, Values, read_draw_things

INVOKEAI = {
    "generation_mode": "txt2img",
    "positive_prompt": "a fox",
    "negative_prompt": "blurry",
    "width": 512,
    "height": 768,
    "seed": 4242,
    "rand_device": "cpu",
    "cfg_scale": 7.0,
    "steps": 20,
    "scheduler": "euler",
    "model": {"key": "k", "hash": "blake3:00", "name": "v1-5", "base": "sd-1", "type": "main"},
}

DRAW_THINGS = """<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0.0">
   <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
      <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" \
xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/">
         <dc:description>
            <rdf:Alt>
               <rdf:li xml:lang="x-default">a fox&#xA;-blurry&#xA;Steps: 20, Sampler: Euler a, \
Guidance Scale: 7.5, Seed: 4242, Size: 512x768, Model: sd_v1.5_f16.ckpt, Strength: 1.0, \
Seed Mode: Scale Alike</rdf:li>
            </rdf:Alt>
         </dc:description>
         <xmp:CreatorTool>Draw Things</xmp:CreatorTool>
         <exif:UserComment>
            <rdf:Alt>
               <rdf:li xml:lang="x-default">{"c": "a fox", "model": "sd_v1.5_f16.ckpt", \
"sampler": "Euler a", \
"scale": 7.5, "seed": 4242, "seed_mode": "Scale Alike", "size": "512x768", "steps": 20, "strength": 1.0, \
"uc": "blurry"}</rdf:li>
            </rdf:Alt>
         </exif:UserComment>
      </rdf:Description>
   </rdf:RDF>
</x:xmpmeta>"""

COMFYUI = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 4242,
            "steps": 20,
            "cfg": 7.5,
            "sampler_name": "dpmpp_2m_sde_gpu",
            "scheduler": "karras",
            "denoise": 1,
            "model": ["10", 0],
            "positive": ["11", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "v1-5.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a fox", "clip": ["10", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "blurry", "clip": ["10", 1]}},
    "10": {
        "class_type": "LoraLoader",
        "inputs": {
            "lora_name": "ink.safetensors",
            "strength_model": 0.6,
            "strength_clip": 0.5,
            "model": ["4", 0],
            "clip": ["4", 1],
        },
    },
    "11": {"class_type": "ConditioningConcat", "inputs": {"conditioning_to": ["6", 0], "again": ["11", 0]}},
}

SD_METADATA = {
    "model": "stable diffusion",
    "model_weights": "v1-5",
    "app_id": "invoke-ai/InvokeAI",
    "image": {
        "prompt": [{"prompt": "a fox [blurry]", "weight": 1.0}],
        "steps": 20,
        "cfg_scale": 7.5,
        "sampler": "k_euler_a",
        "seed": 4242,
        "width": 512,
        "height": 768,
        "type": "txt2img",
    },
}

NOVELAI_COMMENT = {"steps": 20, "sampler": "k_euler_ancestral", "seed": 4242, "scale": 7.5, "uc": "blurry"}

SOURCES: dict[str, dict[str, str]] = {
    "invokeai_metadata": {"invokeai_metadata": json.dumps(INVOKEAI)},
    "XMP": {"XML:com.adobe.xmp": DRAW_THINGS},
    "prompt": {"prompt": json.dumps(COMFYUI), "workflow": "{}"},
    "sd-metadata": {"sd-metadata": json.dumps(SD_METADATA)},
    "Dream": {"Dream": '"a fox [blurry]" -s 20 -S 4242 -W 512 -H 768 -C 7.5 -A k_euler_a'},
    "NovelAI": {
        "Software": "NovelAI",
        "Title": "x",
        "Description": "a fox",
        "Comment": json.dumps(NOVELAI_COMMENT),
    },
}


def read(texts: dict[str, str]) -> tuple[str, Values]:
    found = ((source, values) for source, reader in READERS if (values := reader(texts)) is not None)
    return next(found, ("", {}))


@pytest.mark.parametrize("source", [name for name, _ in READERS])
def test_the_example_of_each_program_becomes_the_request(source: str) -> None:
    name, values = read(SOURCES[source])
    assert name == source
    request = with_public_names(parse_request(values))
    assert (request.prompt, request.negative_prompt) == ("a fox", "blurry")
    assert (request.seed, request.steps) == (4242, 20)
    assert request.guidance_scale in (7.0, 7.5)
    assert request.sampler in ("Euler", "Euler a", "DPM++ 2M SDE")
    if source != "NovelAI":
        assert (request.width, request.height) == (512, 768)


def test_the_model_is_named_where_the_program_names_it() -> None:
    models = {source: read(SOURCES[source])[1].get("model") for source in SOURCES}
    assert models == {
        "invokeai_metadata": "v1-5",
        "XMP": "sd_v1.5_f16.ckpt",
        "prompt": "v1-5.safetensors",
        "sd-metadata": "v1-5",
        "Dream": None,
        "NovelAI": None,
    }


def test_a_comfyui_graph_gives_its_adapters_and_schedule() -> None:
    request = with_public_names(parse_request(read(SOURCES["prompt"])[1]))
    assert request.loras == (LoRA(name="ink.safetensors", weight=0.6),)
    assert request.schedule == "Karras"


@pytest.mark.parametrize(
    "texts",
    [
        {"invokeai_metadata": json.dumps(INVOKEAI | {"generation_mode": "img2img", "strength": 0.4})},
        {"XML:com.adobe.xmp": DRAW_THINGS.replace('"strength": 1.0', '"strength": 0.4')},
        {"prompt": json.dumps(COMFYUI).replace('"denoise": 1', '"denoise": 0.4')},
        {"sd-metadata": json.dumps(SD_METADATA).replace('"txt2img"', '"img2img", "strength": 0.4')},
    ],
    ids=["invokeai", "draw-things", "comfyui", "invokeai-2"],
)
def test_a_picture_made_from_another_asks_for_it(texts: dict[str, str]) -> None:
    values = read(texts)[1]
    assert (values["init_image"], values["strength"]) == (MISSING, 0.4)


@pytest.mark.parametrize("key", ["model", "lora"])
def test_invokeai_names_its_adapters_under_a_newer_and_an_older_key(key: str) -> None:
    loras = [{key: {"model_name": "ink"}, "weight": 0.5}]
    texts = {"invokeai_metadata": json.dumps(INVOKEAI | {"loras": loras})}
    assert parse_request(read(texts)[1]).loras == (LoRA(name="ink", weight=0.5),)


def test_a_comment_as_attribute_is_read() -> None:
    comment = "{&quot;c&quot;: &quot;a fox&quot;}"
    xmp = f'<r xmlns:exif="http://ns.adobe.com/exif/1.0/"><d exif:UserComment="{comment}"/></r>'
    assert read_draw_things({"XML:com.adobe.xmp": xmp}) == {"prompt": "a fox"}


@pytest.mark.parametrize(
    "texts",
    [
        {"Dream": '"a fox" -s "20'},
        {"XML:com.adobe.xmp": "<r>"},
        {"XML:com.adobe.xmp": "<r><d/></r>"},
        {"prompt": '{"1": 5, "2": {"inputs": {"text": "x"}}}'},
        {"prompt": "{}"},
        {"sd-metadata": '{"image": "x"}'},
        {"invokeai_metadata": "{}"},
        {"Comment": '{"steps": 3}'},
    ],
)
def test_what_is_of_another_form_is_passed_over(texts: dict[str, str]) -> None:
    assert read(texts) == ("", {})


def test_xml_that_defines_entities_is_refused_unread() -> None:
    bomb = '<!DOCTYPE r [<!ENTITY a "{&quot;c&quot;: &quot;x&quot;}">]>' + DRAW_THINGS
    assert read_draw_things({"XML:com.adobe.xmp": bomb}) is None
    assert read_draw_things({"XML:com.adobe.xmp": "<!--<!DOCTYPE-->" + bomb}) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SOURCES)), st.data())
def test_no_text_breaks_a_reader(source: str, data: st.DataObject) -> None:
    texts = dict(SOURCES[source])
    key = data.draw(st.sampled_from(sorted(texts)))
    if data.draw(st.booleans()):
        start = data.draw(st.integers(0, len(texts[key])))
        texts[key] = texts[key][:start] + data.draw(st.text(max_size=3)) + texts[key][start + 1 :]
    else:
        originals: dict[str, dict[str, Any]] = {"prompt": COMFYUI, "sd-metadata": SD_METADATA}
        changed = dict(originals.get(key, INVOKEAI))
        changed[data.draw(st.sampled_from(sorted(changed)))] = data.draw(JSON)
        texts[key] = json.dumps(changed)
    read(texts)
