"""The OpenAPI document is true: what is sent has the shape that it says, and no status surprises."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import BaseModel, SecretStr

from sdenv.core.errors import Busy
from sdenv.core.job_record import JobRecord, JobState
from sdenv.protocols.native import error_record, job_record
from sdenv.servers.http import schemas
from tests.servers.http.support import JOBS, SMALL, TOKEN, asked, finished, submitted

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "use_after_free",
    "ignored_auth",
)
"""Not among them: that what the schema allows is accepted. A model of another name is valid, and unknown."""


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with asked(queue_size=256) as found:
        yield found


def keys_of(model: type[BaseModel]) -> set[str]:
    return set(model.model_fields)


def test_records_have_exactly_the_keys_that_the_document_lists(client: httpx2.Client) -> None:
    job = client.get(f"{JOBS}/{finished(client)}").json()
    status = client.get("/sdenv/v1/status").json()
    found: dict[type[BaseModel], dict[str, Any]] = {
        schemas.Job: job,
        schemas.Picture: job["pictures"][0],
        schemas.JobList: client.get(JOBS).json(),
        schemas.Status: status,
        schemas.Model: status["models"][0],
        schemas.Capabilities: status["capabilities"],
        schemas.SizeRule: status["capabilities"]["size"],
        schemas.Queue: status["queue"],
        schemas.BackendRow: client.get("/sdenv/v1/backends").json()["backends"][0],
        schemas.Fault: error_record(Busy("Full.")),
    }
    for model, record in found.items():
        assert set(record) == keys_of(model)
        model.model_validate(record)


def test_a_job_that_failed_is_described_too() -> None:
    job = JobRecord("01ARZ3NDEKTSV4RRFFQ69G5FAV", JobState.FAILED, {}, 0.0, error=Busy("Full."))
    schemas.Job.model_validate(job_record(job))


def routes(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield method, path, route


def test_every_route_says_what_it_is_for_and_what_it_answers(client: httpx2.Client) -> None:
    document = client.get("/openapi.json").json()
    for method, path, route in routes(document):
        assert route["description"], (method, path)
        assert {"401", "403"} < set(route["responses"]), (method, path)
        for parameter in route.get("parameters", ()):
            assert parameter["description"], (path, parameter["name"])


def test_only_the_native_api_is_described(client: httpx2.Client) -> None:
    paths = set(client.get("/openapi.json").json()["paths"])
    assert {path for path in paths if not path.startswith("/sdenv/v1/")} == {
        "/",
        "/health",
        "/ready",
        "/metrics",
    }


def test_every_reference_of_the_document_leads_somewhere(client: httpx2.Client) -> None:
    answer = client.get("/openapi.json")
    known = {f'"#/components/schemas/{name}"' for name in answer.json()["components"]["schemas"]}
    used = {part.split(",")[0].rstrip("}]") for part in answer.text.replace(" ", "").split('"$ref":')[1:]}
    assert used <= known


def test_tokens_are_described_where_they_are_needed() -> None:
    with asked(token=SecretStr(TOKEN)) as client:
        answer = client.get("/openapi.json", headers={"Authorization": f"Bearer {TOKEN}"})
        for _, path, route in routes(answer.json()):
            assert bool(route["security"]) == (path not in ("/", "/health", "/ready"))


def test_the_page_of_routes_lists_them_all_and_loads_nothing(client: httpx2.Client) -> None:
    page = client.get("/docs").text
    for method, path, _ in routes(client.get("/openapi.json").json()):
        assert f"{method.upper()} {path}" in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.slow
@pytest.mark.parametrize("token", [None, TOKEN], ids=["open", "with a token"])
def test_schemathesis_finds_no_server_error_and_no_undocumented_status(
    token: str | None, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {} if token is None else {"token": SecretStr(token)}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with asked(queue_size=256, **settings) as client:
        client.headers.update(headers)
        submitted(client, request={**SMALL, "prompt": "a job to be found"})
        command = [
            str(Path(sys.executable).parent / "schemathesis"),
            "run",
            str(client.base_url.join("/openapi.json")),
        ]
        command += ["--checks", ",".join(CHECKS), "--max-examples", "30", "--generation-deterministic"]
        command += ["--request-timeout", "20", "--no-color"]
        command += [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-6000:]
        assert "Traceback" not in done.stdout
        finished(client)
