"""sdenv over HTTP: one queue of jobs, several dialects on one port."""

from sdenv.servers.http.server import HttpServer
from sdenv.servers.http.settings import HttpSettings, Token

__all__ = ["HttpServer", "HttpSettings", "Token"]
