"""Servers over HTTP: an sdenv elsewhere, or one of the seed dialect."""

from sdenv.backends.http.backend import HttpBackend
from sdenv.backends.http.settings import HttpBackendSettings

__all__ = ["HttpBackend", "HttpBackendSettings"]
