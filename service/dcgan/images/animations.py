"""Animated GIF and WebP, written frame by frame: memory stays flat, however many frames there are.

Pillow collects all frames of an animation before it writes the first. So each frame is encoded by Pillow on its
own, and what holds the frames together, a few bytes in each of the two formats, is written here.
Sources: the GIF89a specification (CompuServe, 1990); WebP Container Specification, RFC 9649, section 2.7.
"""

import io
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from dcgan.errors import OutputError
from dcgan.images.codecs import to_pillow
from dcgan.images.encoders import Pixels
from dcgan.images.files import replacing

MAX_FRAMES_PER_SECOND: Final = 50  # browsers slow down GIFs that ask for more

_Writer: TypeAlias = Callable[[BinaryIO, Iterator[Pixels], float], None]


def write_animation(path: str | Path, frames: Iterable[Pixels], fps: float) -> None:
    """Writes frames as an endless animation, GIF or lossless WebP, as the suffix of `path` says.

    Args:
        path: where to; replaced whole, or left as it was if anything fails.
        frames: at least one, uint8 (h, w, c) of one shape; taken one at a time. A colour GIF keeps 256 colours a frame.
        fps: frames per second, above 0, at most 50.

    Raises:
        OutputError: the suffix is another, or the file can't be written.
        ValueError: no frames, frames of different shapes, or fps out of range.
    """
    if not 0.0 < fps <= MAX_FRAMES_PER_SECOND:
        raise ValueError(f"fps is {fps}; allowed: above 0, at most {MAX_FRAMES_PER_SECOND}")
    writer = writer_of(path)
    with replacing(path) as file:
        writer(file, _alike(frames), fps)


def writer_of(path: str | Path) -> _Writer:
    """Finds the writer for a suffix; raises OutputError, before any work is done, where there is none."""
    suffix = Path(path).suffix.lower()
    writer = {".gif": _write_gif, ".webp": _write_webp}.get(suffix)
    if writer is None:
        raise OutputError(f"{path}: an animation's name ends in .gif or .webp, not {suffix or 'nothing'}")
    return writer


def _alike(frames: Iterable[Pixels]) -> Iterator[Pixels]:
    shape = None
    for frame in frames:
        shape = shape or frame.shape
        if frame.shape != shape:
            raise ValueError(f"all frames have one shape, not {shape} and {frame.shape}")
        yield frame
    if shape is None:
        raise ValueError("an animation needs at least one frame")


def _ticks(number: int, ticks_per_second: int, fps: float) -> int:
    """Gives the ticks that a frame is shown; rounded so that the whole lasts as long as it should."""
    return round((number + 1) * ticks_per_second / fps) - round(number * ticks_per_second / fps)


def _write_gif(file: BinaryIO, frames: Iterator[Pixels], fps: float) -> None:
    for number, frame in enumerate(frames):
        if number == 0:
            height, width, _ = frame.shape
            file.write(b"GIF89a" + struct.pack("<HHBBB", width, height, 0x70, 0, 0))
            file.write(b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00")  # repeat for ever
        file.write(b"\x21\xf9\x04\x04" + struct.pack("<HBB", _ticks(number, 100, fps), 0, 0))
        file.write(_gif_image(frame))
    file.write(b";")


def _gif_image(frame: Pixels) -> bytes:
    """Encodes one frame: image descriptor, its own colour table, compressed pixels."""
    encoded = io.BytesIO()
    to_pillow(frame).save(encoded, "GIF", optimize=False, interlace=False)
    data = encoded.getvalue()
    table_end = 13 + (3 << ((data[10] & 7) + 1))  # Pillow writes the colours as the table of the whole file
    position = table_end
    while data[position] == 0x21:  # extensions: a label, then blocks with their sizes, then an empty one
        position += 2
        while data[position]:
            position += 1 + data[position]
        position += 1
    descriptor = data[position : position + 9] + bytes([0x80 | data[10] & 7])
    return descriptor + data[13:table_end] + data[position + 10 : -1]


def _write_webp(file: BinaryIO, frames: Iterator[Pixels], fps: float) -> None:
    file.write(b"RIFF\0\0\0\0WEBP")
    for number, frame in enumerate(frames):
        height, width, _ = frame.shape
        size = _uint24(width - 1) + _uint24(height - 1)
        if number == 0:
            file.write(_chunk(b"VP8X", b"\x02\0\0\0" + size))
            file.write(_chunk(b"ANIM", b"\xff\xff\xff\xff\0\0"))  # repeat for ever
        at = _uint24(0) * 2
        duration = _uint24(_ticks(number, 1000, fps))
        file.write(_chunk(b"ANMF", at + size + duration + b"\x02" + _webp_image(frame)))
    length = file.tell()
    file.seek(4)
    file.write(struct.pack("<I", length - 8))


def _webp_image(frame: Pixels) -> bytes:
    """Encodes one frame: the VP8L chunk of a file with this image alone."""
    encoded = io.BytesIO()
    to_pillow(frame).save(encoded, "WEBP", lossless=True)
    return encoded.getvalue()[12:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _uint24(value: int) -> bytes:
    return value.to_bytes(3, "little")
