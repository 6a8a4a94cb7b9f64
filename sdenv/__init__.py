"""sdenv: one command line for image generation, and one waist between all who ask and all who make."""

__version__ = "0.1.0"
