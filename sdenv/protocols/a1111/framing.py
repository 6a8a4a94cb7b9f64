"""Init image and mask as AUTOMATIC1111 brings them to the size of the picture before it begins.

Source: AUTOMATIC1111/stable-diffusion-webui, `modules/images.py` (resize_image) and `modules/processing.py`
(StableDiffusionProcessingImg2Img.init).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sdenv.core.image import ImageData, decode, encode_png, size_of

if TYPE_CHECKING:
    from PIL.Image import Image

STRETCH: Final = 0
CROP: Final = 1
FILL: Final = 2
LATENT: Final = 3  # stretched in latent space there; here as STRETCH
_STRIP_PX: Final = 256
MODES: Final = (STRETCH, CROP, FILL, LATENT)


@dataclass(frozen=True, slots=True)
class Framing:
    """How pictures are brought to size.

    Attributes:
        size: Width and height in pixels of the picture that is made.
        mode: STRETCH, CROP, FILL or LATENT.
        mask_blur: Radius in pixels, across and down, by which the mask is blurred.
        mask_inverted: Black is repainted.
    """

    size: tuple[int, int]
    mode: int = STRETCH
    mask_blur: tuple[float, float] = (0.0, 0.0)
    mask_inverted: bool = False

    def init_image(self, image: ImageData) -> ImageData:
        """The init image; as it came where nothing is to be done but what backends do themselves."""
        if not self._cuts(size_of(image, "init_images.0")):
            return image
        return encode_png(self._framed(decode(image, "init_images.0")))

    def mask(self, mask: ImageData, init_size: tuple[int, int]) -> ImageData:
        """The mask, white = repaint, of the size of the init image that `init_image` returns.

        Args:
            mask: As it came; it may have any size.
            init_size: Width and height in pixels of the init image as it came.
        """
        cuts = self._cuts(init_size)
        if not cuts and not self.mask_inverted and not any(self.mask_blur) and size_of(mask) == init_size:
            return mask
        return encode_png(self._blurred(self._of_size(decode(mask, "mask"), init_size, cuts)))

    def _of_size(self, mask: "Image", init_size: tuple[int, int], cuts: bool) -> "Image":
        import PIL.Image
        import PIL.ImageOps

        transparent = mask.mode in ("RGBA", "LA", "PA") or "transparency" in mask.info
        grey = _over_black(mask) if transparent else mask.convert("L")
        if self.mask_inverted:
            grey = PIL.ImageOps.invert(grey)
        if grey.size != init_size:
            grey = grey.resize(init_size, PIL.Image.Resampling.BILINEAR)
        return self._framed(grey) if cuts else grey

    def _blurred(self, mask: "Image") -> "Image":
        import PIL.ImageFilter

        return mask.filter(PIL.ImageFilter.GaussianBlur(self.mask_blur)) if any(self.mask_blur) else mask

    def _cuts(self, size: tuple[int, int]) -> bool:
        """Whether the shape differs and may not just be stretched."""
        return self.mode in (CROP, FILL) and size[0] * self.size[1] != size[1] * self.size[0]

    def _framed(self, picture: "Image") -> "Image":
        import PIL.Image
        import PIL.ImageOps

        smooth = PIL.Image.Resampling.LANCZOS
        if self.mode == CROP:
            return PIL.ImageOps.fit(picture, self.size, smooth)
        inside = PIL.ImageOps.contain(picture, self.size, smooth)
        across, down = (self.size[0] - inside.width) // 2, (self.size[1] - inside.height) // 2
        # The borders continue the edges, so that no frame of another colour shows.
        filled = _edges(inside, self.size, (across, down))
        filled.paste(inside, (across, down))
        return filled


def _over_black(mask: "Image") -> "Image":
    """A mask in grey, in which what is transparent is kept, as if it were black.

    In strips: three more pictures of this size with four channels would be a gigabyte.
    """
    import PIL.Image

    grey = PIL.Image.new("L", mask.size)
    for top in range(0, mask.height, _STRIP_PX):
        strip = mask.crop((0, top, mask.width, min(mask.height, top + _STRIP_PX))).convert("RGBA")
        black = PIL.Image.new("RGBA", strip.size, "black")
        grey.paste(PIL.Image.alpha_composite(black, strip).convert("L"), (0, top))
    return grey


def _edges(inside: "Image", size: tuple[int, int], at: tuple[int, int]) -> "Image":
    """A picture of this size whose borders are the edge rows or columns of the one inside, stretched."""
    import PIL.Image

    around = PIL.Image.new(inside.mode, size)
    width, height = inside.size
    if at[1] or size[1] > height:
        top, bottom = (0, 0, width, 1), (0, height - 1, width, height)
        around.paste(inside.crop(top).resize((size[0], size[1])), (0, 0))
        around.paste(inside.crop(bottom).resize((size[0], size[1] - at[1])), (0, at[1]))
    else:
        left, right = (0, 0, 1, height), (width - 1, 0, width, height)
        around.paste(inside.crop(left).resize((size[0], size[1])), (0, 0))
        around.paste(inside.crop(right).resize((size[0] - at[0], size[1])), (at[0], 0))
    return around
