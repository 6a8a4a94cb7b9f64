"""Forms with files, as a client sends them.

Source: RFC 7578 (multipart/form-data), RFC 2046 5.1.1 (boundaries).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sdenv.core.image import ImageData


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form.

    Attributes:
        field: `image` or `mask`.
        file_name: Some servers tell the type by it.
        picture: The file.
    """

    field: str
    file_name: str
    picture: ImageData


def form_body(values: Mapping[str, str], uploads: Sequence[Upload]) -> tuple[str, bytes]:
    """The content type and the body of a form. The same form is always the same bytes.

    Args:
        values: The plain fields.
        uploads: The files.
    """
    parts = [(f'form-data; name="{name}"', "", text.encode()) for name, text in values.items()]
    parts += [
        (
            f'form-data; name="{each.field}"; filename="{each.file_name}"',
            f"Content-Type: {each.picture.media_type}\r\n",
            each.picture.data,
        )
        for each in uploads
    ]
    boundary = _boundary(body for _, _, body in parts)
    pieces: list[bytes] = []
    for disposition, content_type, body in parts:
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n{content_type}\r\n"
        pieces += [head.encode(), body, b"\r\n"]
    return f"multipart/form-data; boundary={boundary}", b"".join([*pieces, f"--{boundary}--\r\n".encode()])


def _boundary(bodies: Iterable[bytes]) -> str:
    """A line that stands in none of the bodies: who could choose them so cannot know their hash before."""
    digest = hashlib.sha256()
    for body in bodies:
        digest.update(len(body).to_bytes(8, "big") + body)
    return f"sdenv-{digest.hexdigest()[:40]}"
