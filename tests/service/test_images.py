import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dcgan import images
from dcgan.errors import OutputError
from dcgan.images import Format, Pixels, SheetTerm
from dcgan.images.encoders import by_pillow, encoder_of

CHANNELS = st.sampled_from([1, 3])


@st.composite
def pictures(draw: st.DrawFn, count: int | None = None) -> Pixels:
    """Any small uint8 picture (h, w, c), or `count` of them of one shape."""
    size = st.integers(1, 12)
    shape = (draw(size), draw(size), draw(CHANNELS))
    return draw(hnp.arrays(np.uint8, shape if count is None else (count, *shape)))


@given(pictures())
def test_png_keeps_every_pixel(picture: Pixels) -> None:
    """Grey stays grey and colour stays colour."""
    np.testing.assert_array_equal(images.decode(images.encode(picture, "png")), picture)


@given(pictures())
def test_a_server_s_png_holds_the_pixels_of_a_client_s(picture: Pixels) -> None:
    """OpenCV's and Pillow's files differ; what they show doesn't."""
    fast, slow = encoder_of("png")(picture), by_pillow(picture, "png")
    np.testing.assert_array_equal(images.decode(fast), images.decode(slow))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_server_s_jpeg_is_as_good_as_a_client_s(channels: int) -> None:
    """Simplejpeg's and Pillow's have the same quality, so the same distance from the picture."""
    picture = np.random.default_rng(0).integers(60, 200, (48, 40, channels)).astype(np.uint8)
    off = [
        np.abs(images.decode(data).astype(int) - picture).mean()
        for data in (encoder_of("jpeg")(picture), by_pillow(picture, "jpeg"))
    ]
    assert off[0] == pytest.approx(off[1], rel=0.02)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("file_format", "tolerance"), [("jpeg", 8), ("webp", 12)])
def test_lossy_formats_stay_near_a_smooth_picture(file_format: Format, tolerance: int, channels: int) -> None:
    """Quality 90 shifts a gradient by a few grey values."""
    row = np.linspace(20, 230, 32).astype(np.uint8)
    picture = np.repeat(np.tile(row, (32, 1))[:, :, None], channels, axis=2)
    back = images.decode(images.encode(picture, file_format), 1 if channels == 1 else 3)
    assert back.shape == picture.shape
    assert np.abs(back.astype(int) - picture).max() <= tolerance


@given(pictures())
def test_encoding_twice_gives_the_same_bytes(picture: Pixels) -> None:
    """Files can be compared byte for byte."""
    assert images.encode(picture, "png") == images.encode(picture.copy(), "png")


@pytest.mark.parametrize(
    ("picture", "why"),
    [
        (np.zeros((4, 4), np.uint8), r"uint8 \(4, 4\)"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \(4, 4, 4\)"),
        (np.zeros((0, 4, 1), np.uint8), r"uint8 \(0, 4, 1\)"),
        (np.zeros((4, 4, 1), np.float32), "float32"),
    ],
)
def test_what_is_no_picture_is_refused_with_its_shape(picture: Pixels, why: str) -> None:
    """The caller sees what came instead of an error of Pillow."""
    with pytest.raises(ValueError, match=why):
        images.encode(picture, "png")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_image_are_a_value_error(data: bytes) -> None:
    """Decoders raise all sorts of exceptions; callers handle one."""
    with pytest.raises(ValueError, match=r"no image|damaged|pixels"):
        images.decode(data)


@given(st.data(), st.sampled_from(["png", "jpeg", "webp"]))
def test_a_damaged_image_decodes_or_is_a_value_error(data: st.DataObject, file_format: Format) -> None:
    """Truncated and altered files neither crash nor raise anything else."""
    whole = images.encode(np.arange(300, dtype=np.uint8).reshape(10, 10, 3), file_format)
    damaged = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = images.decode(bytes(damaged))
    except ValueError:
        return
    assert decoded.dtype == np.uint8
    assert decoded.ndim == 3


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    """A few hundred bytes can claim gigabytes."""
    bomb = io.BytesIO()
    Image.new("1", (9_000, 8_000)).save(bomb, "PNG")
    with pytest.raises(ValueError, match="9000 x 8000 pixels"):
        images.decode(bomb.getvalue())


def test_a_16_bit_picture_is_scaled_and_not_clipped() -> None:
    """Pillow's own conversion turns everything above 255 white."""
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 0x1234, 0xFFFF]], np.uint16)).save(file, "PNG")
    assert images.decode(file.getvalue())[:, :, 0].tolist() == [[0, 0x12, 0xFF]]


def test_alpha_is_laid_over_white() -> None:
    """What lies hidden under full transparency doesn't show."""
    file = io.BytesIO()
    Image.new("RGBA", (1, 1), (255, 0, 0, 0)).save(file, "PNG")
    assert images.decode(file.getvalue()).tolist() == [[[255, 255, 255]]]


def test_exif_rotation_is_applied() -> None:
    """A phone's upright photo is stored lying."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (8, 4)).save(file, "JPEG", exif=exif)
    assert images.decode(file.getvalue()).shape == (8, 4, 1)


@given(pictures(count=7), st.integers(1, 9), st.integers(0, 3))
def test_every_image_of_a_grid_is_where_its_number_says(pixels: Pixels, columns: int, padding: int) -> None:
    """Row by row, `padding` white pixels around each."""
    count, height, width, _ = pixels.shape
    whole = images.grid(pixels, columns, padding)
    used = min(columns, count)
    rows = -(-count // used)
    assert whole.shape[:2] == (rows * (height + padding) + padding, used * (width + padding) + padding)
    covered = np.zeros(whole.shape[:2], bool)
    for number, image in enumerate(pixels):
        row, column = divmod(number, used)
        top, left = row * (height + padding) + padding, column * (width + padding) + padding
        np.testing.assert_array_equal(whole[top : top + height, left : left + width], image)
        covered[top : top + height, left : left + width] = True
    assert (whole[~covered] == 255).all()


@given(pictures(), st.integers(1, 4))
def test_enlarging_repeats_pixels(picture: Pixels, factor: int) -> None:
    """Taking every factor-th pixel gives the picture back."""
    large = images.enlarge(picture, factor)
    assert large.shape == (picture.shape[0] * factor, picture.shape[1] * factor, picture.shape[2])
    np.testing.assert_array_equal(large[::factor, ::factor], picture)
    np.testing.assert_array_equal(large[factor - 1 :: factor, factor - 1 :: factor], picture)


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_animation_shows_its_frames_for_as_long_as_asked(tmp_path: Path, suffix: str, channels: int) -> None:
    """Pillow, which wrote only the single frames, reads the whole back pixel by pixel."""
    frames = np.random.default_rng(1).integers(0, 256, (12, 17, 13, channels), np.uint8)
    path = tmp_path / f"a{suffix}"
    images.write_animation(path, iter(frames), fps=12)
    with Image.open(path) as animation:
        assert (animation.n_frames, animation.info["loop"], animation.size) == (12, 0, (13, 17))  # type: ignore[attr-defined]
        duration_ms = 0
        for number, frame in enumerate(frames):
            animation.seek(number)
            animation.load()
            duration_ms += animation.info["duration"]
            shown = np.asarray(animation.convert("RGB"))
            np.testing.assert_array_equal(shown, np.broadcast_to(frame, (17, 13, 3)))
    assert duration_ms == 1000


def test_an_animation_takes_one_frame_at_a_time(tmp_path: Path) -> None:
    """A path of ten thousand frames is written in flat memory."""
    alive: set[int] = set()
    most = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            alive.discard(id(self))

    def frames() -> Iterator[Pixels]:
        nonlocal most
        for _ in range(50):
            frame = np.zeros((8, 8, 1), np.uint8).view(Counted)
            alive.add(id(frame))
            most = max(most, len(alive))
            yield frame

    images.write_animation(tmp_path / "a.gif", frames(), fps=25)
    assert most <= 3


@pytest.mark.parametrize(("name", "frame_count", "fps"), [("a.gif", 0, 10.0), ("a.gif", 1, 0.0), ("a.gif", 1, 51.0)])
def test_an_animation_without_frames_or_speed_leaves_no_file(
    tmp_path: Path, name: str, frame_count: int, fps: float
) -> None:
    """Nothing half-written."""
    with pytest.raises(ValueError, match=r"frame|fps"):
        images.write_animation(tmp_path / name, np.zeros((frame_count, 2, 2, 1), np.uint8), fps)
    assert list(tmp_path.iterdir()) == []


def test_an_animation_of_another_suffix_is_refused_by_name(tmp_path: Path) -> None:
    """The error says which suffixes there are."""
    with pytest.raises(OutputError, match=r"\.gif or \.webp, not \.mp4"):
        images.write_animation(tmp_path / "a.mp4", [], 10)


@pytest.mark.parametrize("neighbour_count", [0, 1, 3, 8, 15])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_result_stands_framed_among_its_neighbours(neighbour_count: int, channels: int) -> None:
    """Every picture is on the sheet, none covers another."""
    kinds = 4 + neighbour_count
    tiles = np.broadcast_to(np.arange(1, kinds + 1, dtype=np.uint8)[:, None, None, None] * 7, (kinds, 28, 28, channels))
    terms = [
        SheetTerm("mean(1, 2)", 1.0, tiles[0], tiles[1:3]),
        SheetTerm("a label that is far too long for one line", -0.5, tiles[0], tiles[:0]),
    ]
    drawn = images.sheet(terms, tiles[3], tiles[4:])
    assert drawn.shape[2] == channels
    for value in {int(tile[0, 0, 0]) for tile in tiles}:
        expected = 112 * 112 * (2 if value == 7 else 1)
        assert expected <= (drawn[:, :, 0] == value).sum() <= expected + 600, "letters' edges are of any grey"


def test_the_same_sum_of_pixels_stands_below() -> None:
    """Each term as the mean of its exemplars' pixels, and what they come to, clipped."""
    flat = np.ones((5, 28, 28, 1), np.uint8) * np.array([40, 10, 31, 200, 90], np.uint8)[:, None, None, None]
    terms = [SheetTerm("a", 2.0, flat[0], flat[1:3]), SheetTerm("b", 1.0, flat[3], flat[:0])]
    plain = images.sheet(terms, flat[4], flat[:0])
    drawn = images.sheet(terms, flat[4], flat[:0], pixels=True)
    np.testing.assert_array_equal(drawn[: len(plain)], plain)
    below = drawn[len(plain) :, :, 0]
    for value in (20, 200, 241):  # 20.5 rounded to even, 200, and 2 * 20.5 + 200
        assert 112 * 112 <= (below == value).sum() <= 112 * 112 + 600
    assert images.pixel_sum([SheetTerm("a", -1.0, flat[0], flat[:0])]).max() == 0


def test_a_saved_file_replaces_the_old_one_whole(tmp_path: Path) -> None:
    """And nothing else stays in the folder."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old and longer")
    images.save(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a stream of frames too."""
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")

    def frames() -> Iterator[Pixels]:
        yield np.zeros((2, 2, 1), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        images.write_animation(path, frames(), 10)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named_with_what_to_do(tmp_path: Path) -> None:
    """One line, no errno."""
    with pytest.raises(OutputError, match=r"missing/a\.png: its folder does not exist; create it first"):
        images.save(tmp_path / "missing" / "a.png", b"")


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    """Before any work is done for it."""
    with pytest.raises(OutputError, match="it is a folder; name a file"), images.replacing(tmp_path):
        pytest.fail("the body must not run")


def test_a_full_disk_keeps_the_old_file_and_says_so(tmp_path: Path) -> None:
    """/dev/full refuses what is written, as a disk does when its last block is taken."""
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="disk is full"), images.replacing(path) as file:
        _fill_the_disk(file)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is a device of Linux")
def test_a_device_is_written_to_and_never_replaced() -> None:
    """A rename over /dev/null would take it away from everyone."""
    images.save("/dev/null", b"data")
    assert Path("/dev/null").is_char_device()
    with pytest.raises(OutputError, match="disk is full"):
        images.save("/dev/full", b"data")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it points to gets the new content."""
    real, link = tmp_path / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    link.symlink_to(real)
    images.save(link, b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def _fill_the_disk(file: BinaryIO) -> None:
    """Fails as a write to a full disk fails, after some of the data went through."""
    file.write(b"half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
