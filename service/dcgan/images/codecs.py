"""One image to the bytes of a PNG, JPEG or WebP file, and back.

The same pixels always give the same bytes. Decoding takes what people have: any size, grey, colour, 16 bits,
palette, alpha, turned by EXIF; and refuses everything else with ValueError, whatever the bytes are.
"""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from dcgan.errors import OutputError
from dcgan.images.encoders import Format, Pixels, encoder_of, pillow_image

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS: Final = 1 << 26  # 67 million, under the 89 million at which Pillow warns
_MAX_SCANS: Final = 64  # of a JPEG; usual ones have up to 10, and each goes over the whole picture
_READABLE: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # of GIF the first frame


def encode(image: Pixels, format: Format) -> bytes:  # noqa: A002 (what Pillow, the API and people call it)
    """Encodes one image, uint8 (h, w, c), losslessly as "png", or at quality 90 as "jpeg" or "webp".

    Raises ValueError for another shape or type, and for more pixels than the format can hold.
    """
    _check(image)
    try:
        return encoder_of(format)(image)
    except Exception as error:  # each library has errors of its own for pictures that are too large for a format
        raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels are no {format}: {error}") from error


def format_of(path: str | Path) -> Format:
    """Tells the format from the suffix of a file's name; raises OutputError for any but .png, .jpg, .jpeg, .webp."""
    suffix = Path(path).suffix.lower()
    known: dict[str, Format] = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
    if suffix not in known:
        raise OutputError(f"{path}: a picture's name ends in {', '.join(known)}, not {suffix or 'nothing'}")
    return known[suffix]


def decode(data: bytes, channels: Literal[1, 3] | None = None, max_pixels: int = MAX_PIXELS) -> Pixels:
    """Decodes a PNG, JPEG, WebP, GIF or BMP file, turned upright, alpha laid over white.

    Args:
        data: the bytes of the file.
        channels: 1 or 3 converts to grey or RGB; None keeps grey grey and gives RGB for all else.
        max_pixels: that it may have; how many it has is known before it is decoded.

    Returns:
        uint8 of shape (h, w, channels).

    Raises:
        ValueError: the bytes are no such file, are damaged, or hold more than `max_pixels`.
    """
    from PIL import Image, UnidentifiedImageError

    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > _MAX_SCANS:
        raise ValueError(f"a JPEG of more than {_MAX_SCANS} scans is not decoded: it would take minutes")
    try:
        with Image.open(io.BytesIO(data), formats=_READABLE) as picture:
            if picture.width * picture.height > max_pixels:
                raise ValueError(f"{picture.width} x {picture.height} pixels are more than {max_pixels:,}")
            return from_pillow(picture, channels)
    except ValueError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError(f"the {len(data)} bytes are no image in PNG, JPEG, WebP, GIF or BMP") from error
    except Exception as error:  # decoders fail on hostile bytes in every way: SyntaxError, IndexError, struct.error
        raise ValueError(f"the image is damaged: {error}") from error


def to_pillow(image: Pixels) -> "Image.Image":
    """Makes a Pillow image, mode L or RGB, of uint8 (h, w, c); raises ValueError for another shape or type."""
    _check(image)
    return pillow_image(image)


def from_pillow(picture: "Image.Image", channels: Literal[1, 3] | None = None) -> Pixels:
    """Makes uint8 (h, w, c) of any Pillow image; `channels` as for `decode`."""
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip, not scale
        upright = Image.fromarray((np.asarray(upright).astype(np.uint32) >> 8).astype(np.uint8))
    if upright.has_transparency_data:
        white = Image.new("RGBA", upright.size, "white")
        upright = Image.alpha_composite(white, upright.convert("RGBA")).convert(
            "L" if upright.mode in ("L", "LA") else "RGB"
        )
    grey = channels == 1 or (channels is None and upright.mode in ("1", "L"))
    pixels = np.array(upright.convert("L" if grey else "RGB"))
    return pixels[:, :, None] if grey else pixels


def _check(image: Pixels) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ValueError(f"an image is uint8 of shape (h, w, 1) or (h, w, 3), not {image.dtype} {image.shape}")
