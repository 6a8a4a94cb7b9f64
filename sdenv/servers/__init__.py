"""The table of front ends: text only. One row a protocol, sorted."""

from sdenv.core.registry import Entry, Registry
from sdenv.core.server import Server

ROWS: dict[str, Entry] = {}

SERVERS: Registry[Server] = Registry("front end", "sdenv.servers", ROWS)
