"""Errors in OpenAI's words, and back."""

import pytest
from hypothesis import given

from sdenv.core.errors import (
    Busy,
    Denied,
    FailedError,
    InternalError,
    InvalidRequest,
    Kind,
    NoStepInTime,
    SdenvError,
    SizeNotPossible,
    UnavailableError,
    UnknownModel,
    all_error_types,
)
from sdenv.protocols import openai
from tests.support.strategies import JSON


def test_an_error_is_an_object_of_four_keys() -> None:
    body = openai.error_body(SizeNotPossible("Not this size.", why="size 67x64: the nearest is 64x64."), 400)
    assert body == {
        "error": {
            "message": "Not this size. size 67x64: the nearest is 64x64.",
            "type": "invalid_request_error",
            "param": "size",
            "code": "size-not-multiple",
        }
    }


@pytest.mark.parametrize(
    ("error", "status", "error_type", "code"),
    [
        (Denied("No."), 401, "invalid_request_error", "invalid_api_key"),
        (UnknownModel("No."), 404, "invalid_request_error", "model_not_found"),
        (Busy("Full."), 429, "rate_limit_error", "queue-full"),
        (FailedError("Broken."), 500, "server_error", "failed"),
        (InternalError("Ours."), 400, "server_error", "internal-error"),
        (NoStepInTime("Late."), 504, "server_error", "no-step-in-time"),
    ],
)
def test_types_and_the_codes_that_clients_look_for(
    error: SdenvError, status: int, error_type: str, code: str
) -> None:
    said = openai.error_body(error, status)["error"]
    assert (said["type"], said["code"], said["param"] if error.kind is not Kind.USAGE else None) == (
        error_type,
        code,
        None,
    )


@pytest.mark.parametrize("error_type", list(all_error_types()), ids=lambda each: each.code)
def test_every_error_comes_through_with_its_class(error_type: type[SdenvError]) -> None:
    body = openai.error_body(error_type("What happened.", "Why.", "Do this."), 400)
    back = openai.error_of(400, body)
    assert type(back) is error_type
    assert str(back) == "What happened. Why. Do this."


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Kind.USAGE),
        (401, Kind.DENIED),
        (403, Kind.DENIED),
        (404, Kind.USAGE),
        (422, Kind.USAGE),
        (429, Kind.BUSY),
        (500, Kind.FAILED),
        (503, Kind.UNAVAILABLE),
        (504, Kind.TIMEOUT),
        (0, Kind.FAILED),
    ],
)
def test_an_error_of_another_makers_server_is_judged_by_its_status(status: int, kind: Kind) -> None:
    body = {"error": {"message": "Billing hard limit.", "type": "x", "param": "size", "code": "billing"}}
    error = openai.error_of(status, body)
    assert error.kind is kind
    assert str(error) == "Billing hard limit. It is about 'size'."


def test_a_full_queue_says_when_to_come_back() -> None:
    error = openai.error_of(429, {"error": {"message": "Full."}}, retry_after_s=3.0)
    assert isinstance(error, Busy)
    assert error.retry_after_s == 3.0


@given(JSON)
def test_any_body_of_an_error_is_an_error(body: object) -> None:
    assert openai.error_of(502, {"error": body}).what
    assert isinstance(openai.error_of(502, body), UnavailableError | SdenvError)


@pytest.mark.parametrize(
    ("error", "param"),
    [
        (InvalidRequest("x", why="width: must be at most 8192."), "size"),
        (InvalidRequest("x", why="count: must be at least 1."), "n"),
        (InvalidRequest("x", why="init_image: missing."), "image"),
        (InvalidRequest("x", why="The server says so."), None),
        (UnknownModel("x"), "model"),
        (FailedError("x", why="steps: all of them."), None),
    ],
)
def test_the_field_is_named_as_clients_know_it(error: SdenvError, param: str | None) -> None:
    assert openai.param_of(error) == param
