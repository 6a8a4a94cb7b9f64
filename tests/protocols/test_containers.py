"""EXIF in JPEG and WebP, and pictures freed of what is private: no pixel changes, others can read them."""

import io
import struct
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from sdenv.core.errors import BadImage
from sdenv.core.image import JPEG, PNG, WEBP, ImageData, decode, size_of
from sdenv.protocols.containers import anonymous, user_comment_exif, with_exif
from tests.support.pictures import encoded, picture

USER_COMMENT = 0x9286
UNDEFINED = 7  # TIFF type
PRIVATE = b"ann"


@pytest.mark.parametrize(
    "image",
    [
        encoded(JPEG), encoded(JPEG, "L"), encoded(WEBP), encoded(WEBP, lossless=True),
        encoded(WEBP, "RGBA", lossless=True), encoded(WEBP, "RGBA", exif=Image.Exif()),
    ],
    ids=["jpeg", "grey-jpeg", "webp", "lossless-webp", "alpha-webp", "webp-with-exif"],
)  # fmt: skip
def test_exif_is_put_in_and_taken_out_without_touching_a_pixel(image: ImageData) -> None:
    told = with_exif(image, user_comment_exif("Steps: 20 月"))
    bare = anonymous(told)
    for each in (told, bare):
        opened, before = decode(each), decode(image)
        assert (opened.mode, opened.size, opened.tobytes()) == (before.mode, before.size, before.tobytes())
    comment = Image.open(io.BytesIO(told.data)).getexif().get_ifd(ExifTags.IFD.Exif)[USER_COMMENT]
    assert comment == b"UNICODE\0" + "Steps: 20 月".encode("utf-16-be")
    assert b"UNICODE" not in bare.data


def half_transparent() -> Image.Image:
    opened = decode(picture()).convert("RGBA")
    opened.putalpha(128)
    return opened


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_stays_transparent(lossless: bool) -> None:
    buffer = io.BytesIO()
    half_transparent().save(buffer, "WEBP", lossless=lossless)
    image = ImageData.from_bytes(buffer.getvalue())
    for each in (with_exif(image, user_comment_exif("fox")), anonymous(image)):
        assert decode(each).getextrema() == decode(image).getextrema()
        assert decode(each).mode == "RGBA"
        assert each.data[12:16] == b"VP8X"
        assert each.data[20] & 0x10, "RFC 9649, 2.7: the alpha flag, which Pillow does not look at"


def test_the_comment_has_the_type_that_other_readers_want() -> None:
    block = user_comment_exif("fox")
    entry = struct.unpack_from(">HHI", block, block.index(struct.pack(">H", USER_COMMENT)))
    assert entry == (USER_COMMENT, UNDEFINED, len(b"UNICODE\0") + 2 * len("fox"))


def test_the_comment_is_put_in_once() -> None:
    twice = with_exif(with_exif(encoded(JPEG), user_comment_exif("one")), user_comment_exif("two"))
    assert twice.data.count(b"UNICODE") == 1


@pytest.mark.parametrize("media_type", [JPEG, WEBP])
def test_a_rotated_picture_stays_rotated(media_type: str) -> None:
    turned = with_exif(encoded(media_type), user_comment_exif("fox", orientation=6))
    assert size_of(turned) == (24, 32)


def private_picture(media_type: str, orientation: int) -> ImageData:
    """A picture with everything that can tell who made it and where."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "ann"
    exif[ExifTags.Base.Orientation] = orientation
    options: dict[str, Any] = {"exif": exif, "icc_profile": PROFILE}
    if media_type == PNG:
        info = PngImagePlugin.PngInfo()
        info.add_text("Author", "ann")
        info.add(b"tIME", b"\x07\xea\x0b\x14ann")
        return with_tail(encoded(PNG, pnginfo=info, **options))
    if media_type == JPEG:
        return with_tail(with_segment(encoded(JPEG, comment=b"ann", **options), 0xED, b"Photoshop 3.0\0ann"))
    return with_tail(encoded(WEBP, xmp=b"ann", **options))


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def with_tail(image: ImageData) -> ImageData:
    """With something after its end, as phones put further pictures there."""
    return image.model_copy(update={"data": image.data + b"and ann"})


def with_segment(image: ImageData, marker: int, body: bytes) -> ImageData:
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    return image.model_copy(update={"data": image.data[:2] + segment + image.data[2:]})


@pytest.mark.parametrize("orientation", [1, 6, 99])
@pytest.mark.parametrize("media_type", [PNG, JPEG, WEBP])
def test_an_anonymous_picture_has_its_pixels_its_colours_and_nothing_else(
    media_type: str, orientation: int
) -> None:
    private = private_picture(media_type, orientation)
    assert private.data.count(PRIVATE) >= 3
    bare = anonymous(private)
    assert PRIVATE not in bare.data
    opened, before = decode(bare), decode(private)
    assert (opened.size, opened.tobytes()) == (before.size, before.tobytes())
    assert Image.open(io.BytesIO(bare.data)).info["icc_profile"] == PROFILE
    assert anonymous(bare) == bare


def test_further_pictures_inside_a_jpeg_go() -> None:
    bare = anonymous(with_segment(encoded(JPEG), 0xE2, b"MPF\0ann"))
    assert PRIVATE not in bare.data


def test_a_progressive_jpeg_keeps_all_its_scans() -> None:
    image = encoded(JPEG, progressive=True)
    assert anonymous(with_tail(image)).data == image.data


def test_a_damaged_picture_is_an_error_or_stays_as_it_is() -> None:
    with pytest.raises(BadImage):
        anonymous(ImageData(data=picture().data[:20], media_type=PNG))
    cut = encoded(JPEG).data[:-20]
    assert anonymous(ImageData(data=cut, media_type=JPEG)).data == cut
    strange = encoded(JPEG).data[:2] + b"\0" + encoded(JPEG).data[2:]
    assert with_exif(ImageData(data=strange, media_type=JPEG), b"").data == strange


@pytest.mark.parametrize("media_type", [JPEG, WEBP])
def test_a_turned_picture_keeps_its_size_when_its_exif_changes(media_type: str) -> None:
    turned = with_exif(encoded(media_type), user_comment_exif("fox", orientation=6))
    again = with_exif(turned, user_comment_exif("fox", orientation=6))
    assert decode(again).size == (24, 32)
