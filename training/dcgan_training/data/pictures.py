"""Image files, from a folder at any depth or from a zip, to one array.

Each image is decoded by `dcgan.images`: upright, on white, of 16 bits the upper 8. The set is grey if no pixel of
it has colour. Files that aren't images by their names are left alone.
"""

import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan import images
from dcgan_training.errors import DataError

SUFFIXES: Final = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp"})


Named = tuple[NDArray[np.uint8], tuple[str, ...]]  # uint8 (n, height, width, channels), and the name of each


def from_folder(folder: Path, size: int | None) -> Named:
    """Reads every image below a folder, in the order of their paths; first frames of those that move.

    Returns:
        uint8 of shape (n, height, width, channels), and the path of each below the folder.

    Raises:
        DataError: there are no images, one can't be read, or (without `size`) they aren't of one size.
        OSError: a file can't be opened.
    """
    names = sorted(
        str(PurePosixPath(Path(at, file).relative_to(folder)))
        for at, _, files in os.walk(folder, onerror=_raise)
        for file in files
    )
    return _stack(folder, names, lambda name: (folder / name).read_bytes(), size)


def from_zip(file: Path, size: int | None) -> Named:
    """Reads every image in a zip, as `from_folder` does."""
    try:
        with zipfile.ZipFile(file) as archive:
            return _stack(file, sorted(archive.namelist()), archive.read, size)
    except zipfile.BadZipFile as error:
        raise DataError(file, f"is a damaged zip ({error})") from error
    except (RuntimeError, NotImplementedError) as error:
        raise DataError(file, f"is a zip that can't be read ({error})") from error  # encrypted, exotic compression


def fitted(stack: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Crops images, uint8 of shape (n, height, width, c), to their central square and resizes them to `size`."""
    return np.stack([images.fitted(image, size, size) for image in stack])


def _stack(source: Path, names: Sequence[str], read: Callable[[str], bytes], size: int | None) -> Named:
    names = [name for name in names if _is_picture(PurePosixPath(name))]
    if not names:
        raise DataError(source, f"holds no images ({', '.join(sorted(SUFFIXES))})")
    first = _pixels(source / names[0], read(names[0]), size)
    stack = np.empty((len(names), *first.shape), np.uint8)
    stack[0] = first
    for place, name in enumerate(names[1:], 1):
        pixels = _pixels(source / name, read(name), size)
        if pixels.shape[:2] != first.shape[:2]:
            (height, width), (first_height, first_width) = pixels.shape[:2], first.shape[:2]
            raise DataError(
                source / name,
                f"is {width}x{height} but {names[0]} is {first_width}x{first_height}; "
                "say --size to crop and resize them all",
            )
        if pixels.shape[2] > stack.shape[3]:  # the first one with colour
            stack = np.repeat(stack, 3, axis=3)
        stack[place] = pixels
    return stack, tuple(names)


def _is_picture(name: PurePosixPath) -> bool:
    """Leaves out what operating systems strew about: hidden files, and the twins in __MACOSX of a zip."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts)
    return name.suffix.lower() in SUFFIXES and not hidden


def _pixels(name: Path, content: bytes, size: int | None) -> NDArray[np.uint8]:
    """Decodes one image to uint8 (height, width, 1 or 3), cropped and resized where `size` is given."""
    try:
        pixels = images.decode(content)
    except ValueError as error:
        raise DataError(name, str(error)) from error
    if size is not None:
        pixels = images.fitted(pixels, size, size)
    grey = (pixels[:, :, :1] == pixels).all()
    return pixels[:, :, :1] if grey else pixels


def _raise(error: OSError) -> None:
    """Lets a folder that can't be listed be an error, where os.walk would pass over it."""
    raise error
