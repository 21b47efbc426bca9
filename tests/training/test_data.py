import gzip
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dcgan_training.data import load
from dcgan_training.errors import DataError
from pictures import COLOUR, GREY, folder, idx, png, refusal
from runs import SUBSET


def test_the_shipped_subset_is_400_balanced_images() -> None:
    """40 of each of the ten classes, 28 pixels, grey."""
    data = load(SUBSET)
    assert data.images.shape == (400, 28, 28, 1)
    assert data.images.dtype == np.uint8
    labels = gzip.decompress((SUBSET / "train-labels-idx1-ubyte.gz").read_bytes())[8:]
    assert np.bincount(list(labels)).tolist() == [40] * 10


def test_the_same_images_are_the_same_data_set_in_every_form(tmp_path: Path) -> None:
    """idx, idx.gz, their folder, .npy, a folder of images and a zip of images agree in pixels and digest."""
    plain, packed, named = tmp_path / "images.idx", tmp_path / "images.gz", tmp_path / "named"
    flat, grey, rgb = tmp_path / "flat.npy", tmp_path / "grey.npy", tmp_path / "rgb.npy"
    np.save(flat, GREY[:, :, :, 0])
    np.save(grey, GREY)
    np.save(rgb, np.repeat(GREY, 3, axis=3))
    named.mkdir()
    plain.write_bytes(idx(GREY))
    packed.write_bytes(gzip.compress(idx(GREY)))
    (named / "train-images-idx3-ubyte").write_bytes(idx(GREY))
    pictures, archive = folder(tmp_path / "pictures", GREY), tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.mkdir("folder.png")  # an entry of its own, which is no image
        for file in pictures.rglob("*.PNG"):
            out.write(file, file.relative_to(pictures))
    loaded = [load(path) for path in (plain, packed, named, flat, grey, rgb, pictures, archive)]
    loaded += [load(path, store=tmp_path / f"{path.name}.npy") for path in (pictures, archive)]
    for data in loaded:
        np.testing.assert_array_equal(data.images, GREY)
    assert len({data.digest for data in loaded}) == 1


def test_one_other_pixel_is_another_data_set(tmp_path: Path) -> None:
    """The digest covers every pixel."""
    changed = GREY.copy()
    changed[5, 13, 13, 0] ^= 1
    assert load(folder(tmp_path / "a", GREY)).digest != load(folder(tmp_path / "b", changed)).digest


def test_colour_stays_and_grey_in_rgb_files_becomes_grey(tmp_path: Path) -> None:
    """What counts is the pixels, not the mode of the files."""
    np.testing.assert_array_equal(load(folder(tmp_path / "colour", COLOUR)).images, COLOUR)
    np.testing.assert_array_equal(load(folder(tmp_path / "grey", GREY, mode="RGB")).images, GREY)


def test_grey_images_among_colour_become_colour(tmp_path: Path) -> None:
    """One colour image, also where it is the last, makes the whole set colour."""
    directory = folder(tmp_path, GREY)
    (directory / "z.png").write_bytes(png(COLOUR[0]))
    data = load(directory)
    np.testing.assert_array_equal(data.images[:-1], np.repeat(GREY, 3, axis=3))
    np.testing.assert_array_equal(data.images[-1], COLOUR[0])


def test_transparent_pixels_become_white(tmp_path: Path) -> None:
    """What lies under full transparency is an accident of the tool that wrote it."""
    pixels = np.dstack([COLOUR[0], np.full((14, 14, 1), 255, np.uint8)])
    pixels[0, 0, 3] = 0
    directory = folder(tmp_path, COLOUR[1:3])
    Image.fromarray(pixels, "RGBA").save(directory / "z.png")
    drawn = load(directory).images[-1]
    assert drawn[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_array_equal(drawn[1:], COLOUR[0][1:])


def test_palettes_become_their_colours(tmp_path: Path) -> None:
    """Indices into a palette are no grey levels."""
    flat = np.full((14, 14, 3), (200, 30, 60), np.uint8)
    images = load(folder(tmp_path, np.stack([flat, flat]), mode="P")).images
    assert np.abs(images[0, 0, 0].astype(int) - [200, 30, 60]).max() <= 30
    assert images.shape[3] == 3


def test_photos_are_turned_upright(tmp_path: Path) -> None:
    """Cameras write the orientation into EXIF and leave the pixels lying."""
    folder(tmp_path, GREY[:1])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(GREY[1, :, :, 0]).save(tmp_path / "z.png", exif=exif)
    np.testing.assert_array_equal(load(tmp_path).images[-1, :, :, 0], np.rot90(GREY[1, :, :, 0], -1))


def test_size_takes_the_central_square(tmp_path: Path) -> None:
    """A wide image loses its sides, not its proportions."""
    wide = np.zeros((16, 40, 1), np.uint8)
    wide[:, 12:28] = 200
    images = load(folder(tmp_path, np.stack([wide, wide])), size=8).images
    assert images.shape == (2, 8, 8, 1)
    assert (images == 200).all()


def test_idx_images_are_resized_too() -> None:
    """--size means the same for every form of data."""
    assert load(SUBSET, size=32).images.shape == (400, 32, 32, 1)


def test_other_files_and_hidden_ones_are_left_alone(tmp_path: Path) -> None:
    """Labels, thumbnails' databases and a Mac's twins are no images."""
    directory = folder(tmp_path, GREY)
    (directory / "labels.csv").write_text("a,b\n")
    (directory / "._000.png").write_bytes(b"not an image")
    (directory / "__MACOSX").mkdir()
    (directory / "__MACOSX" / "000.png").write_bytes(b"not an image")
    assert len(load(directory)) == len(GREY)


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The commonest mistake gets the shortest answer."""
    assert refusal(tmp_path / "nowhere") == f"{tmp_path / 'nowhere'}: does not exist"


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """The message says what was looked for."""
    assert "holds no images (.bmp, " in refusal(tmp_path)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    """Among thousands of files, the one at fault must be found, and what to do."""
    file = folder(tmp_path, GREY) / "1" / "004.PNG"
    file.write_bytes(file.read_bytes()[:-40])
    message = refusal(tmp_path)
    assert message.startswith(f"{file}: ")
    assert message.endswith("the other 5 images can be read: say --broken skip to leave it out")


def test_all_damaged_images_are_counted(tmp_path: Path) -> None:
    """Whoever mends the first one would meet the next."""
    directory = folder(tmp_path, GREY)
    for name in ("0/000.PNG", "0/002.PNG", "1/003.PNG", "1/005.PNG"):
        (directory / name).write_bytes(b"404")
    message = refusal(directory)
    assert message.startswith(f"{directory / '0/000.PNG'}: ")
    assert "4 of 6 images are broken (0/002.PNG, 1/003.PNG and others too): say --broken skip" in message


@pytest.mark.parametrize("store", [None, "data.npy"])
def test_damaged_images_are_left_out_where_that_is_said(tmp_path: Path, store: str | None) -> None:
    """The data set names them; the others keep their order."""
    directory = folder(tmp_path / "pictures", GREY)
    (directory / "0" / "001.PNG").write_bytes(b"404")
    (directory / "1" / "004.PNG").unlink()
    (directory / "1" / "004.PNG").symlink_to("nowhere")
    kept = tmp_path / store if store else None
    for _ in range(2):
        data = load(directory, broken="skip", store=kept)
        np.testing.assert_array_equal(data.images, GREY[[0, 2, 3, 5]])
        assert data.skipped == ("0/001.PNG", "1/004.PNG")
        assert data.names == ("0/000.PNG", "0/002.PNG", "1/003.PNG", "1/005.PNG")


def test_images_that_are_all_damaged_are_refused(tmp_path: Path) -> None:
    """There is nothing left when they are skipped."""
    (tmp_path / "0.png").write_bytes(b"404")
    for size in (None, 28):
        with pytest.raises(DataError, match="none of"):
            load(tmp_path, size, broken="skip")


def test_a_text_file_named_png_is_named(tmp_path: Path) -> None:
    """It may be an error page that a download left."""
    file = folder(tmp_path, GREY) / "9.png"
    file.write_text("404 not found")
    assert refusal(tmp_path).startswith(f"{file}: ")


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    """The message names both and says what to do; with --size they go together."""
    directory = folder(tmp_path, GREY)
    (directory / "z.png").write_bytes(png(COLOUR[0][:, :7]))
    assert "is 7x14 but 0/000.PNG is 14x14; say --size" in refusal(directory)
    assert load(directory, size=8).images.shape == (7, 8, 8, 3)


def test_a_size_that_no_network_has_is_refused(tmp_path: Path) -> None:
    """The message lists those that there are."""
    assert "15x15; say --size with one of 8, 14" in refusal(folder(tmp_path, np.zeros((2, 15, 15, 1), np.uint8)))


def test_one_image_is_no_data_set(tmp_path: Path) -> None:
    """A discriminator would learn it by heart at once."""
    assert "one image only" in refusal(folder(tmp_path, GREY[:1]))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (idx(GREY)[:-1], "is cut short"),
        (idx(GREY) + b"x", "has bytes too many"),
        (idx(GREY)[:9], "is neither an idx file"),
        (b"", "is neither an idx file"),
        (b"hello, world, this is no image", "is neither an idx file"),
        (struct.pack(">4I", 0x803, 0, 28, 28), "holds no images"),
        (gzip.compress(idx(GREY))[:-20], "is cut short"),
        (gzip.compress(idx(GREY))[:200] + b"\0" * 9 + gzip.compress(idx(GREY))[209:], "is a damaged gzip file"),
    ],
)
def test_a_faulty_idx_file_is_named_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    """Downloads break off, and people name the labels where the images are meant."""
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(content)
    assert f"{file}: {why}" in refusal(file)


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_a_zip_is_named(tmp_path: Path, packing: int) -> None:
    """The zip's own checksum, or its packing, finds a flipped byte that the image's might not."""
    file = tmp_path / "images.zip"
    with zipfile.ZipFile(file, "w", packing) as out:
        for number in range(3):
            out.writestr(f"{number}.png", png(GREY[number]))
    content = bytearray(file.read_bytes())
    content[60:64] = b"oops"
    file.write_bytes(content)
    assert refusal(file).startswith(f"{file / '0.png'}: ")


def test_a_zip_without_its_end_is_refused(tmp_path: Path) -> None:
    """Downloads break off; the list of a zip's members stands last."""
    file = tmp_path / "images.zip"
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("0.png", png(GREY[0]))
    file.write_bytes(file.read_bytes()[:-30])
    assert refusal(file) == f"{file}: is a zip that is cut short: its end is missing; fetch it again"


@pytest.mark.parametrize(
    ("array", "why"),
    [
        (np.zeros((4, 28, 28), np.float32), "holds float32 of shape (4, 28, 28); images are uint8"),
        (np.zeros((4, 28, 28, 4), np.uint8), "holds uint8 of shape (4, 28, 28, 4)"),
        (np.asfortranarray(np.ones((4, 28, 28), np.uint8)), "in Fortran order"),
        (np.zeros((0, 28, 28), np.uint8), "holds no images"),
        (np.zeros((4, 28, 30), np.uint8), "its images are 30x28; say --size"),
    ],
)
def test_an_array_of_something_else_is_refused(tmp_path: Path, array: NDArray[np.generic], why: str) -> None:
    """The message says what it is, and what images are."""
    np.save(tmp_path / "a.npy", array)
    assert why in refusal(tmp_path / "a.npy")


def test_an_array_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    """Before training, and not by a crash in the middle of it."""
    file = tmp_path / "a.npy"
    np.save(file, GREY)
    file.write_bytes(file.read_bytes()[:-1])
    assert refusal(file).startswith(f"{file}: is no readable .npy file")


@pytest.mark.parametrize("shape", ["(-6, 14, 14, 1), }", "(6, (", "(6, 14, 14, 1}"])
def test_an_array_with_a_damaged_header_is_refused(tmp_path: Path, shape: str) -> None:
    """Whatever numpy makes of it."""
    file = tmp_path / "a.npy"
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}"
    file.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.ljust(117).encode() + b"\n" + bytes(1176))
    assert refusal(file).startswith(f"{file}: is no readable .npy file")


def test_an_array_is_resized_as_pictures_are(tmp_path: Path) -> None:
    """And into a store where there is one."""
    np.save(tmp_path / "a.npy", COLOUR)
    wanted = load(folder(tmp_path / "pictures", COLOUR), size=8).digest
    assert load(tmp_path / "a.npy", size=8).digest == wanted
    assert load(tmp_path / "a.npy", size=8, store=tmp_path / "data.npy").digest == wanted


def test_a_zip_without_images_is_refused(tmp_path: Path) -> None:
    """A zip of something else."""
    file = tmp_path / "texts.zip"
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("a.txt", "x")
    assert "holds no images" in refusal(file)
