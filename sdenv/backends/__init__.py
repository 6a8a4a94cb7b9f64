"""The table of backends: text only, so that names and help cost no import. One row a backend, sorted."""

from sdenv.core.backend import Backend
from sdenv.core.errors import UnknownBackend
from sdenv.core.registry import Entry, Registry

ROWS: dict[str, Entry] = {
    "a1111": Entry(
        "sdenv.backends.a1111:A1111Backend",
        summary="A server of AUTOMATIC1111's API, of any make: a1111://host:7860",
    ),
    "fake": Entry(
        "sdenv.backends.fake:FakeBackend", summary="Draws test pictures at once; for demos, docs and tests"
    ),
    "http": Entry(
        "sdenv.backends.http:HttpBackend",
        summary="A server of sdenv, here or on another machine: http://host:9090",
    ),
    "local": Entry(
        "sdenv.backends.local:LocalBackend", "local", "This machine's CPU or GPU, through torch and diffusers"
    ),
    "openai": Entry(
        "sdenv.backends.openai:OpenAIBackend",
        summary="A server of OpenAI's images API, of any make: openai://host:port",
    ),
}

BACKENDS: Registry[Backend] = Registry("backend", "sdenv.backends", ROWS, UnknownBackend)
