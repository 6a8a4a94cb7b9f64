"""What every front end promises."""


class ServerContract:
    """To be written."""
