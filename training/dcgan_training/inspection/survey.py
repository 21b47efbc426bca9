"""What image files say of themselves before they are decoded: size, mode, whether EXIF turns them."""

from collections import Counter
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from dcgan_training.data.pictures import Pictures

Shape = tuple[int, int]  # width and height, px, upright

_ORIENTATION: Final = 0x0112
_EXIF: Final = ("exif", "xmp", "XML:com.adobe.xmp")  # where Pillow finds it in what it read so far
_LYING: Final = frozenset({5, 6, 7, 8})  # orientations in which width and height change places


@dataclass(frozen=True, slots=True)
class Survey:
    """Counts over all files whose beginning can be read.

    Attributes:
        shapes: how many images have a width and height, px, upright.
        kinds: how many are "grey", "colour", "with transparency", "palette" or "16 bits", each counted once.
        turned: how many EXIF turns.
    """

    shapes: Counter[Shape] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    turned: int = 0


def survey(pictures: Pictures) -> Survey:
    """Looks at the beginning of every file; passes over those that are broken."""
    shapes, kinds, turned = Counter[Shape](), Counter[str](), 0
    for name in pictures.names:
        try:
            with pictures.open(name) as file:
                shape, kind, orientation = _header(file)
        except Exception:  # Pillow fails on hostile bytes, and on pictures like bombs, in ways of its own
            continue  # who decodes the file says why
        shapes[shape[::-1] if orientation in _LYING else shape] += 1
        kinds[kind] += 1
        turned += orientation > 1
    return Survey(shapes, kinds, turned)


def usual(sizes: tuple[int, ...], shapes: Counter[Shape], largest: int) -> int | None:
    """Gives the size, px, to bring images to that can't be trained on as they are; None where they can.

    It is the largest of `sizes` that half of the images have on their shorter side, and not above `largest`.
    """
    if len(shapes) == 1:
        width, height = next(iter(shapes))
        if width == height and width in sizes:
            return None
    sides = sorted(min(shape) for shape in shapes.elements())
    middle = sides[len(sides) // 2]
    return max((size for size in sizes if size <= min(middle, largest)), default=min(sizes))


def _header(file: BinaryIO) -> tuple[Shape, str, int]:
    """Gives width and height as stored, the kind, and the orientation, 1 where it is upright."""
    from PIL import Image

    with Image.open(file) as picture:
        kind = _kind(picture.mode, picture.has_transparency_data)
        said = any(key in picture.info for key in _EXIF)  # or Pillow would decode all of a PNG to look for it
        return picture.size, kind, picture.getexif().get(_ORIENTATION, 1) if said else 1


def _kind(mode: str, transparent: bool) -> str:
    if transparent:
        return "with transparency"
    if mode.startswith("I"):
        return "16 bits"
    return {"1": "grey", "L": "grey", "P": "palette"}.get(mode, "colour")
