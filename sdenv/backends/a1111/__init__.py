"""Servers of AUTOMATIC1111's API: the original, its forks, an sdenv elsewhere."""

from sdenv.backends.a1111.backend import A1111Backend
from sdenv.backends.a1111.settings import A1111Settings

__all__ = ["A1111Backend", "A1111Settings"]
