"""Images that a caller hands over: read, made into files, and put into as many requests as the limits of one need."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from dcgan import images as codecs
from dcgan.errors import InvalidField
from dcgan.v1 import dcgan_pb2 as pb

Picture: TypeAlias = str | os.PathLike[str] | bytes | NDArray[np.uint8]
Pictures: TypeAlias = Picture | Sequence[Picture]

MAX_FILE_BYTES: Final = 4 << 20  # what a request may have
PART_IMAGES: Final = 16  # of Limits.max_uploads and max_images: an answer with so many fits up to 256 px in colour
PART_BYTES: Final = 3 << 20  # of Limits.max_request_bytes
MAX_STEPS: Final = (1 << 31) - 1  # what the field holds; servers allow far fewer


def upload_lists(images: Pictures) -> Iterator[pb.UploadList]:
    """Puts images into as few lists as fit into a request each; InvalidField where there is none."""
    files = _files(images)
    if not files:
        raise InvalidField("images", "empty", "at least 1")
    part = pb.UploadList()
    size = 0
    for data in files:
        if part.files and (len(part.files) == PART_IMAGES or size + len(data) > PART_BYTES):
            yield part
            part, size = pb.UploadList(), 0
        part.files.append(data)
        size += len(data)
    yield part


def read(path: str | os.PathLike[str]) -> bytes:
    """Reads an image's file; raises InvalidField where it can't be read or is larger than a request."""
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError, RuntimeError) as error:  # ValueError: a null byte; RuntimeError: nobody's ~home
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidField("image", path, f"a file that can be read ({why})") from error
    return _small_enough(data, path)


def _files(images: Pictures) -> list[bytes]:
    if isinstance(images, np.ndarray) and images.ndim == 4:
        images = list(images)
    if isinstance(images, str | bytes | os.PathLike | np.ndarray):
        images = [images]
    return [_file(image) for image in images]


def _file(image: Picture) -> bytes:
    if isinstance(image, bytes):
        return _small_enough(image, f"{len(image):,} bytes")
    if not isinstance(image, np.ndarray):
        return read(image)
    array = cast(NDArray[Any], image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        seen = f"{array.dtype} of shape {array.shape}"
        raise InvalidField("images", seen, "uint8 of shape (h, w, c) or (n, h, w, c), c 1 or 3")
    return _small_enough(codecs.encode(array, "png"), f"an array of shape {array.shape}")


def _small_enough(data: bytes, what: object) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise InvalidField("image", what, f"a file of at most {MAX_FILE_BYTES:,} bytes")
    return data
