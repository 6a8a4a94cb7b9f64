"""Client and server side together: what goes in at one end comes out at the other."""

import email.parser
import email.policy
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdenv.core.backend import BackendStatus, ModelInfo
from sdenv.core.capabilities import Capabilities
from sdenv.core.errors import PeerBrokeProtocol
from sdenv.core.events import Notice
from sdenv.core.image import ImageData
from sdenv.core.job_record import JobRecord, JobState
from sdenv.core.request import MAX_PICTURE_PIXELS, GenerationRequest, ResolvedRequest
from sdenv.protocols import native, openai
from sdenv.protocols.sse import EventReader
from sdenv.testing.samples import mask, picture
from tests.support.strategies import JSON, requests

RESOLVED = ResolvedRequest(
    prompt="a cat",
    model="emoji",
    width=64,
    height=64,
    steps=3,
    guidance_scale=2.5,
    seed=7,
    sampler="Euler a",
    schedule="Karras",
    count=2,
)
JOB = JobRecord(
    id="01",
    state=JobState.DONE,
    request={},
    created_at=0.0,
    resolved=RESOLVED.model_dump(mode="json", exclude={"init_image", "mask"}),
    backend="fake",
    model_hash="abc",
    made_with={"device": "none"},
    notices=(Notice("size-fitted", "67x64 is made at 64x64."),),
    seconds=1.5,
)
FINISHED = [
    openai.Finished(picture(), 7, (64, 64), 0, "http://h/files/a.png"),
    openai.Finished(picture(shade=1), 8, (64, 64), 1, "http://h/files/b.png"),
]


def carried(request: GenerationRequest) -> GenerationRequest:
    """The part of a request that this API has words for, with both sides said as it says them."""
    kept = {name: getattr(request, name) for name in request.said() & openai.CARRIES}
    side = request.width or request.height
    if side and side * side <= MAX_PICTURE_PIXELS:
        kept |= {"width": request.width or side, "height": request.height or side}
    return GenerationRequest(**kept)


def received(asked: openai.Asked) -> openai.Wanted:
    """What the server makes of it, by way of the bytes."""
    content_type, body = asked.body()
    if content_type == "application/json":
        assert asked.path == openai.GENERATIONS
        return openai.wanted_generation(openai.json_object(body))
    values, files = form_of(content_type, body)
    assert asked.path == openai.EDITS
    return openai.wanted_edit(values, [files["image"]], files.get("mask"))


def form_of(content_type: str, body: bytes) -> tuple[dict[str, str], dict[str, ImageData]]:
    """A form read by the mail parser of the standard library, which knows nothing of ours."""
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode()
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    values: dict[str, str] = {}
    files: dict[str, ImageData] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        data = part.get_payload(decode=True)
        assert isinstance(data, bytes)
        if part.get_filename() is None:
            values[name] = data.decode()
        else:
            files[name] = ImageData.from_bytes(data)
    return values, files


def printable(request: GenerationRequest) -> bool:
    """The mail parser, not the form, ends lines where others would not."""
    texts = (request.prompt, request.negative_prompt or "", request.model or "", request.sampler or "")
    return all(text.isprintable() for text in (*texts, request.schedule or ""))


def stripped(request: GenerationRequest) -> bool:
    """Names are one word: blanks around them say nothing."""
    names = (request.model, request.sampler, request.schedule)
    return all(name is None or (name == name.strip() and name) for name in names)


@given(requests().filter(stripped))
def test_every_field_that_is_carried_arrives(request: GenerationRequest) -> None:
    wanted = carried(request)
    if (wanted.width is None) != (wanted.height is None):
        return  # a square beyond the limit, which no server accepts
    if wanted.init_image is not None and not printable(wanted):
        return
    if wanted.mask is not None and wanted.init_image != picture(8, 8):
        wanted = wanted.model_copy(update={"init_image": picture(8, 8)})
    if "<sd_cpp_extra_args>" in wanted.prompt:
        return
    found = received(openai.asked_of(wanted))
    assert found.request == wanted
    assert found.ignored == ()


def test_how_the_answer_is_wanted_arrives() -> None:
    request = GenerationRequest(prompt="a cat", init_image=picture())
    found = received(openai.asked_of(request, response_format="b64_json", partial_images=2))
    assert (found.stream, found.partial_images, found.with_url, found.call) == (
        True,
        2,
        False,
        openai.Call.EDIT,
    )


def test_what_is_not_said_is_not_sent() -> None:
    asked = openai.asked_of(GenerationRequest(prompt="a cat"))
    assert asked.values == {"prompt": "a cat"}


@given(st.lists(st.binary(max_size=40), max_size=3))
def test_no_file_can_end_a_form_early(datas: list[bytes]) -> None:
    first = openai.form_body({"a": "b"}, [])[1]
    uploads = [
        openai.Upload("image", "image.png", ImageData(data=data + first, media_type="image/png"))
        for data in datas
    ]
    content_type, body = openai.form_body({"prompt": "a"}, uploads)
    boundary = content_type.partition("boundary=")[2].encode()
    assert body.count(b"--" + boundary) == len(uploads) + 2


# Answers


WANTED = openai.wanted_generation({"prompt": "a cat", "n": 2})


def answer(**changes: Any) -> Any:
    return json.loads(
        openai.images_body(replace(WANTED, **changes), FINISHED, 1700000000, openai.facts_of(JOB))
    )


def test_an_answer_has_what_every_client_reads() -> None:
    body = answer()
    assert body["created"] == 1700000000
    assert (body["size"], body["output_format"], body["background"]) == ("64x64", "png", "opaque")
    assert [set(each) for each in body["data"]] == [{"b64_json", "url", "seed"}] * 2
    assert [each["seed"] for each in body["data"]] == [7, 8]
    assert [each["url"] for each in body["data"]] == ["http://h/files/a.png", "http://h/files/b.png"]


def test_only_the_form_that_was_asked_for_is_answered() -> None:
    assert "url" not in answer(with_url=False)["data"][0]
    assert "b64_json" not in answer(with_base64=False)["data"][0]


def test_the_client_finds_pictures_seeds_and_how_they_were_made() -> None:
    first, second = openai.pictures_of(answer())
    assert (first.data, second.data) == (picture().data, picture(shade=1).data)
    assert (first.seed, second.seed, second.index) == (7, 8, 1)
    assert first.facts is not None
    assert openai.resolved_of(first.facts, GenerationRequest(prompt="a cat")) == RESOLVED
    assert dict(openai.made_with_of(first.facts)) == {"device": "none"}
    assert openai.notices_of(first.facts) == JOB.notices


def test_the_input_pictures_that_are_not_sent_back_are_put_in_again() -> None:
    request = GenerationRequest(init_image=picture(), mask=mask())
    found = openai.resolved_of(openai.facts_of(JOB), request)
    assert (found.init_image, found.mask) == (picture(), mask())


def events(data: bytes) -> list[tuple[str, Any]]:
    return [(each.type, json.loads(each.data)) for each in EventReader().feed(data)]


@pytest.mark.parametrize(
    ("call", "word"), [(openai.Call.GENERATION, "image_generation"), (openai.Call.EDIT, "image_edit")]
)
def test_events_have_the_keys_that_clients_require(call: openai.Call, word: str) -> None:
    wanted = replace(WANTED, call=call, stream=True, partial_images=1)
    common = {"type", "b64_json", "created_at", "size", "quality", "background", "output_format", "sdenv"}
    partial = openai.partial_event(wanted, picture(), size=(64, 64), number=0, created=5, index=1, step=2)
    completed = openai.completed_event(wanted, FINISHED[1], 6, openai.facts_of(JOB))
    [(partial_name, partial_values), (completed_name, completed_values)] = events(partial + completed)
    assert (partial_name, completed_name) == (f"{word}.partial_image", f"{word}.completed")
    assert (partial_values["type"], completed_values["type"]) == (partial_name, completed_name)
    assert set(partial_values) == common | {"partial_image_index"}
    assert set(completed_values) == common | {"usage", "seed"}
    assert completed_values["usage"]["input_tokens_details"] == {"text_tokens": 0, "image_tokens": 0}
    found = openai.partial_of(partial_values)
    assert (found.data, found.index, found.step) == (picture().data, 1, 2)
    last = openai.completed_of(completed_values, 0)
    assert (last.data, last.index, last.seed) == (picture(shade=1).data, 1, 8)


def test_an_error_in_a_stream_is_an_object_and_no_ordinary_event() -> None:
    from sdenv.core.errors import OutOfMemory

    [(name, values)] = events(openai.error_event(OutOfMemory("Too large.")))
    assert name == "error"
    assert set(values) == {"error"}
    assert isinstance(openai.error_of(0, values), OutOfMemory)


def test_a_keep_alive_is_no_event() -> None:
    assert events(openai.KEEP_ALIVE) == []


# Another maker's server


def test_a_bare_answer_is_enough() -> None:
    [found] = openai.pictures_of(
        {"created": 1, "data": [{"url": "http://h/x.png", "revised_prompt": "two cats"}]}
    )
    assert (found.data, found.url, found.seed, found.facts) == (None, "http://h/x.png", None, None)
    assert found.revised_prompt == "two cats"


def test_what_is_not_told_is_assumed_and_named() -> None:
    request = GenerationRequest(prompt="a cat", model="dall-e-3", width=64, height=64)
    resolved, not_told = openai.assumed(request, (1024, 1024), seed=9)
    assert (resolved.model, resolved.width, resolved.seed) == ("dall-e-3", 1024, 9)
    assert not_told == ("steps", "guidance_scale", "sampler", "schedule")


@given(JSON)
def test_any_json_is_an_answer_or_breaks_the_protocol(value: Any) -> None:
    for read in (openai.pictures_of, openai.partial_of, lambda each: openai.completed_of(each, 0)):
        for each in (value, {"data": value}, {"data": [value]}, {"b64_json": value}):
            try:
                read(each)
            except PeerBrokeProtocol:
                continue


def test_models_are_listed_as_clients_expect_and_say_more_to_our_own() -> None:
    status = BackendStatus("fake", "1", (ModelInfo("emoji"),), Capabilities())
    listed = openai.models_answer(status, 5)
    assert listed["object"] == "list"
    assert listed["data"] == [{"id": "emoji", "object": "model", "created": 5, "owned_by": "sdenv"}]
    assert native.status_of(listed["sdenv"]) == status
