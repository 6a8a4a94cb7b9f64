"""The table of front ends: text only. One row a protocol, sorted."""

from sdenv.core.registry import Entry, Registry
from sdenv.core.server import Server

ROWS: dict[str, Entry] = {
    "http": Entry(
        "sdenv.servers.http:HttpServer",
        "serve",
        "HTTP: sdenv's own API, AUTOMATIC1111's, OpenAI's and an old one",
    ),
}

SERVERS: Registry[Server] = Registry("front end", "sdenv.servers", ROWS)
