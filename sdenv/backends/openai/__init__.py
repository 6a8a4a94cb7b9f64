"""Servers of OpenAI's images API, of whatever make."""

from sdenv.backends.openai.backend import OpenAIBackend
from sdenv.backends.openai.settings import OpenAISettings

__all__ = ["OpenAIBackend", "OpenAISettings"]
