"""This machine's own device, through torch and diffusers. Importing this package imports neither."""

from sdenv.backends.local.backend import LocalBackend, LocalSettings

__all__ = ["LocalBackend", "LocalSettings"]
