"""Init image and mask of an img2img body."""

from typing import Any, final

from sdenv.core.errors import BadImage, InvalidRequest
from sdenv.core.image import ImageData, size_of
from sdenv.protocols.a1111.framing import MODES, Framing
from sdenv.protocols.a1111.values import Body, WrongFields, number, row, whole
from sdenv.protocols.inline import inline_picture


@final
class InitImageMissing(InvalidRequest):
    """An img2img body without an init image."""

    def __init__(self) -> None:
        super().__init__("Init image not found")


def pictures_of(body: Body, size: tuple[int, int], *, exact: bool) -> dict[str, Any]:
    """Init image and mask, brought into shape, as fields of the request.

    Args:
        body: As it came.
        size: Width and height in pixels of the picture to make; within the limits.
        exact: Leave them as they came.

    Raises:
        InitImageMissing: There is no init image.
        WrongFields: A value of the wrong type or outside of its range.
        BadImage: One is no picture, or a URL.
    """
    images = row(body, "init_images")
    if not images or images[0] is None:
        raise InitImageMissing
    init = _picture(images[0], "init_images.0")
    mask = None if body.get("mask") in (None, "") else _picture(body["mask"], "mask")
    if exact:
        return {"init_image": init, "mask": mask}
    mode = whole(body, "resize_mode", 0)
    if mode not in MODES:
        raise WrongFields(("resize_mode", "must be from 0 to 3"))
    framing = Framing(
        size=size,
        mode=mode,
        mask_blur=_blur(body),
        mask_inverted=whole(body, "inpainting_mask_invert", 0) != 0,
    )
    framed = None if mask is None else framing.mask(mask, size_of(init))
    return {"init_image": framing.init_image(init), "mask": framed}


def _blur(body: Body) -> tuple[float, float]:
    """Radius across and down; `mask_blur` is both."""
    both = number(body, "mask_blur", -1)
    across, down = number(body, "mask_blur_x", 4), number(body, "mask_blur_y", 4)
    across, down = (both, both) if both >= 0 else (across, down)
    if not (0 <= across <= 512 and 0 <= down <= 512):
        raise WrongFields(("mask_blur", "must be from 0 to 512"))
    return across, down


def _picture(value: object, name: str) -> ImageData:
    if not isinstance(value, str):
        raise WrongFields((name, "must be a picture as base64"))
    try:
        return inline_picture(value, name)
    except BadImage as error:
        raise BadImage("Invalid encoded image", why=error.what, hint=error.hint) from error
