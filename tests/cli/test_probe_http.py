"""`sdenv probe http`: what a server is, as a page and as JSON, with exit codes for scripts."""

import json

import pytest

from sdenv.backends.fake import FakeBackend, FakeSettings
from tests.cli.support import sdenv
from tests.support.http_servers import http_server, native_client, url_of
from tests.support.raw_servers import http_answer, raw_server, saying


def test_a_server_is_shown_as_a_page() -> None:
    with http_server() as address:
        done = sdenv("probe", "http", url_of(address))
    assert done.code == 0
    rows = dict(line.split(None, 1) for line in done.lines)
    assert url_of(address) in rows["Server"]
    assert "native" in rows["Speaks"]
    assert rows["Latency"].endswith(" ms")
    assert rows["Queue"] == "0 running, 0 of 8 places taken"
    assert rows["Models"] == "mosaic, mosaic-native"
    assert "Picture" not in rows


def test_a_test_picture_is_made_and_not_kept() -> None:
    with http_server() as address, native_client(address) as client:
        done = sdenv("probe", "http", url_of(address), "--picture", "--json")
        assert client.find().jobs == ()
    record = json.loads(done.out)
    assert record["type"] == "server"
    assert (record["picture"]["width"], record["picture"]["height"]) == (512, 512)
    assert record["capabilities"]["cancel"] == "at-once"
    assert [model["name"] for model in record["models"]] == ["mosaic", "mosaic-native"]


def test_nothing_that_listens_is_exit_code_4() -> None:
    with http_server() as address:
        pass
    done = sdenv("probe", "http", url_of(address))
    assert done.code == 4
    assert "Nothing listens" in done.stderr


def test_another_program_is_exit_code_4() -> None:
    with raw_server(saying(http_answer("200 OK", b"<html></html>"))) as port:
        done = sdenv("probe", "http", f"http://127.0.0.1:{port}")
    assert done.code == 4
    assert "is not a server of sdenv" in done.stderr


def test_a_missing_token_is_exit_code_8_and_one_that_is_given_works(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(token="right") as address:
        denied = sdenv("probe", "http", url_of(address), "--json")
        assert denied.code == 8
        assert json.loads(denied.stderr)["code"] == "denied"
        assert sdenv("probe", "http", url_of(address), "-O", "token=right").code == 0
        monkeypatch.setenv("SDENV_TOKEN", "right")
        assert sdenv("probe", "http", url_of(address)).code == 0


def test_a_test_picture_that_fails_is_exit_code_6() -> None:
    with http_server(FakeBackend(FakeSettings(fail_at_step=1))) as address:
        assert sdenv("probe", "http", url_of(address), "--picture").code == 6


def test_a_backend_that_is_no_server_cannot_be_probed_so() -> None:
    done = sdenv("probe", "http", "fake")
    assert done.code in (2, 3)
    assert "fake" in done.stderr


def test_a_certificate_that_is_met_for_the_first_time_is_shown() -> None:
    with http_server(tls=True) as address:
        done = sdenv("probe", "http", url_of(address).replace("http", "https"))
    assert done.code == 0
    assert "is met for the first time" in done.stderr
