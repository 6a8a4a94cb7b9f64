"""Who may ask: tokens in every form, names of the server, web pages of other origins."""

import base64

import pytest
from pydantic import SecretStr

from sdenv.core.errors import Denied, OriginDenied
from sdenv.core.server import Address
from sdenv.servers.http.access import Access, Asked
from sdenv.servers.http.principal import Principal
from sdenv.servers.http.settings import HttpSettings, Token

HOST = {"host": "127.0.0.1:9090"}
OPEN = Access(HttpSettings(), Address("127.0.0.1", 9090))
CLOSED = Access(
    HttpSettings(
        token=SecretStr("master-key"),
        tokens={
            "alice": Token(secret=SecretStr("alice-key")),
            "boss": Token(secret=SecretStr("boss-key"), sees_all=True),
        },
    ),
    Address("127.0.0.1", 9090),
)


def ask(access: Access, path: str = "/sdenv/v1/jobs", method: str = "GET", **headers: str) -> Principal:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return access.principal(Asked(method, path, {**HOST, **named}))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "name", "sees_all"),
    [
        ({"authorization": "Bearer master-key"}, "", True),
        ({"authorization": "bearer alice-key"}, "alice", False),
        ({"authorization": "Bearer boss-key"}, "boss", True),
        ({"authorization": basic("anybody", "alice-key")}, "alice", False),
        ({"authorization": basic("", "alice-key")}, "alice", False),
        ({"cookie": "theme=dark; sdenv_token=alice-key"}, "alice", False),
        ({"authorization": "Basic", "cookie": "sdenv_token=alice-key"}, "alice", False),
    ],
)
def test_a_token_is_known_in_every_form(headers: dict[str, str], name: str, sees_all: bool) -> None:
    assert ask(CLOSED, **headers) == Principal(name, sees_all)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer master-ke"},
        {"authorization": "Bearer master-key2"},
        {"authorization": "Bearer MASTER-KEY"},
        {"authorization": "master-key"},
        {"authorization": "Basic !!!"},
        {"authorization": basic("master-key", "")},
        {"authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
        {"cookie": "sdenv_token="},
        {"cookie": "sdenv_token=alice"},
        {"cookie": "other=alice-key"},
        {"cookie": '\\"; sdenv_token'},
    ],
)
def test_anything_else_is_denied(headers: dict[str, str]) -> None:
    with pytest.raises(Denied):
        ask(CLOSED, **headers)


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/login", "/files/secret.png"])
def test_a_stranger_may_ask_for_what_is_open(path: str) -> None:
    assert ask(CLOSED, path).is_stranger


@pytest.mark.parametrize(
    "path", ["/files", "/filesx", "//", "/health/", "/healthz", "/Health", "/metrics", "/docs"]
)
def test_what_only_looks_like_it_is_not_open(path: str) -> None:
    with pytest.raises(Denied):
        ask(CLOSED, path)


def test_without_tokens_everybody_is_the_owner_of_all() -> None:
    assert ask(OPEN) == Principal("", True)
    assert ask(OPEN, authorization="Bearer whatever") == Principal("", True)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:9090", "localhost:1", "LOCALHOST", "localhost.", "[::1]:9090", "10.0.0.7"],
)
def test_its_addresses_and_its_own_name_are_answered(host: str) -> None:
    assert ask(OPEN, host=host) == Principal()


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:9090",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "[evil]",
        "[::1].evil.example",
        "[::1].evil.example:9090",
        "[::1]evil.example",
        "[::1",
        "localhost:1.evil.example",
    ],
)
def test_a_name_that_an_attacker_could_point_here_is_not(host: str) -> None:
    with pytest.raises(OriginDenied):
        ask(OPEN, host=host)


def test_a_name_that_was_allowed_is_answered_and_so_is_any_with_a_token() -> None:
    assert ask(Access(HttpSettings(hosts=("gpu.lan",))), host="gpu.lan:9090") == Principal()
    assert ask(CLOSED, host="gpu.lan", authorization="Bearer alice-key").name == "alice"
    with pytest.raises(OriginDenied):
        ask(CLOSED, host="gpu.lan", cookie="sdenv_token=alice-key")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://127.0.0.1",
        "http://127.0.0.1:9091",
        "http://localhost:9090",
        "http://127.0.0.1:9090.evil.example",
        "http://user@evil.example:9090",
        "file://",
        "",
        "http://[",
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/sdenv/v1/jobs"])
def test_a_page_of_another_origin_is_turned_away_everywhere(origin: str, path: str) -> None:
    with pytest.raises(OriginDenied):
        ask(OPEN, path, "POST", origin=origin)


def test_a_page_that_is_logged_in_elsewhere_cannot_lend_its_cookie_or_password() -> None:
    for credentials in ({"cookie": "sdenv_token=alice-key"}, {"authorization": basic("", "alice-key")}):
        with pytest.raises(OriginDenied):
            ask(CLOSED, method="POST", origin="http://evil.example", **credentials)


@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:9090", "https://127.0.0.1:9090", "HTTP://127.0.0.1:9090"]
)
def test_its_own_page_may_ask(origin: str) -> None:
    assert ask(OPEN, origin=origin) == Principal()


def test_an_origin_that_was_allowed_may_ask_and_is_told_to_the_browser() -> None:
    access = Access(HttpSettings(cors_origins=("https://app.example/",)))
    assert ask(access, origin="https://app.example") == Principal()
    assert access.cors_headers("https://app.example")["Access-Control-Allow-Origin"] == "https://app.example"
    assert access.cors_headers("https://evil.example") == {}
    assert OPEN.cors_headers("https://app.example") == {}
    with pytest.raises(OriginDenied):
        ask(access, origin="https://evil.example")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_foreign_page_cannot_embed_what_it_may_not_read_but_may_link_here(site: str) -> None:
    with pytest.raises(OriginDenied):
        ask(OPEN, "/sdenv/v1/status", sec_fetch_site=site, sec_fetch_mode="no-cors")
    assert ask(OPEN, "/", sec_fetch_site=site, sec_fetch_mode="navigate") == Principal()
    assert ask(OPEN, "/files/secret.png", sec_fetch_site=site, sec_fetch_mode="no-cors") == Principal()


def test_errors_never_show_a_token() -> None:
    with pytest.raises(Denied) as denied:
        ask(CLOSED, authorization="Bearer guess-one")
    assert "guess-one" not in str(denied.value)
    assert "key" not in repr(HttpSettings(token=SecretStr("master-key"))).replace("tls_key", "")
