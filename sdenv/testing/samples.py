"""Pictures to put into requests, and how to compare those that come out."""

from sdenv.core.image import PNG, ImageData, decode, encode_png


def picture(width_px: int = 64, height_px: int = 64, shade: int = 0) -> ImageData:
    """A PNG with slopes in red and green and an even blue; equal for equal arguments.

    Args:
        width_px: Width in pixels.
        height_px: Height in pixels.
        shade: Another number gives another picture.
    """
    import PIL.Image

    across = PIL.Image.linear_gradient("L").resize((width_px, height_px))
    down = across.transpose(PIL.Image.Transpose.FLIP_TOP_BOTTOM)
    even = PIL.Image.new("L", (width_px, height_px), shade * 37 % 256)
    return encode_png(PIL.Image.merge("RGB", (across, down, even)))


def mask(width_px: int = 64, height_px: int = 64) -> ImageData:
    """A mask whose right half is white: to be repainted."""
    import PIL.Image

    drawn = PIL.Image.new("L", (width_px, height_px), 0)
    drawn.paste(255, (width_px // 2, 0, width_px, height_px))
    return encode_png(drawn)


def not_pictures() -> dict[str, ImageData]:
    """By name: bytes that claim to be a PNG and cannot be decoded."""
    whole = picture().data
    return {
        "truncated": ImageData(data=whole[: len(whole) // 2], media_type=PNG),
        "only a signature": ImageData(data=whole[:8], media_type=PNG),
        "something else": ImageData(data=b"<html></html>", media_type=PNG),
    }


def largest_difference(one: ImageData, other: ImageData) -> int:
    """The largest difference of a channel between two pictures, 0 to 255; 256 when their sizes differ."""
    import PIL.ImageChops

    first, second = decode(one).convert("RGB"), decode(other).convert("RGB")
    if first.size != second.size:
        return 256
    return max(PIL.ImageChops.difference(first, second).tobytes())
