import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from dcgan.errors import OutputError
from dcgan_training import recipes
from dcgan_training.cli import main
from dcgan_training.data import load, split
from dcgan_training.data.idx import read
from dcgan_training.data.stacked import stack
from dcgan_training.errors import DataError
from dcgan_training.inspection import SAMPLE, Inspection, inspect
from runs import SUBSET

RANDOM = np.random.Generator(np.random.PCG64(8))


def noise(height: int, width: int, channels: int = 3) -> NDArray[np.uint8]:
    """Draws one image."""
    return RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(file: Path, picture: Image.Image, **how: object) -> None:
    """Writes a PNG."""
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.save(file, "PNG", **how)


@pytest.fixture(scope="module")
def motley(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all that people have: 12 images of 6 shapes, two of them alike, one blank, and two broken."""
    folder = tmp_path_factory.mktemp("motley")
    for number in range(5):
        save(folder / f"colour-{number}.png", Image.fromarray(noise(64, 64)))
    save(folder / "copy.png", Image.open(folder / "colour-3.png"))
    save(folder / "grey.png", Image.fromarray(noise(40, 30, 1)[:, :, 0]))
    save(folder / "palette.png", Image.fromarray(noise(64, 64)).convert("P"))
    save(folder / "clear.png", Image.fromarray(noise(64, 80, 4), "RGBA"))
    save(folder / "deep.png", Image.fromarray(RANDOM.integers(0, 1 << 16, (64, 64), dtype=np.uint16)))
    save(folder / "blank.png", Image.new("RGB", (200, 300), (9, 8, 7)))
    exif = Image.Exif()
    exif[0x0112] = 6
    save(folder / "turned.png", Image.fromarray(noise(50, 70)), exif=exif)
    (folder / "page.png").write_text("404 not found")
    half = io.BytesIO()
    Image.fromarray(noise(64, 64)).save(half, "PNG")
    (folder / "half.png").write_bytes(half.getvalue()[:5_000])
    return folder


def lines(capsys: pytest.CaptureFixture[str], *command: str) -> dict[str, str]:
    """Runs `inspect` and gives what it says by its headings; what has none belongs to the one above."""
    assert main(["inspect", *command]) == 0
    found: dict[str, str] = {}
    for line in capsys.readouterr().out.splitlines():
        if line[:11].strip():
            heading = line[:11].strip()
            found[heading] = line[12:]
        else:
            found[heading] += "\n" + line[12:]
    return found


@pytest.fixture(scope="module")
def found(motley: Path) -> Inspection:
    """What is found in the motley folder."""
    return inspect(motley)


def test_sizes_are_counted_upright(found: Inspection) -> None:
    """EXIF turns one image, whose 70 by 50 pixels stand 50 by 70; a broken one is counted where it has a header."""
    assert found.survey.shapes == {(64, 64): 9, (30, 40): 1, (80, 64): 1, (200, 300): 1, (50, 70): 1}
    assert found.survey.turned == 1


def test_modes_are_told_apart(found: Inspection) -> None:
    """Each file has one."""
    assert found.survey.kinds == {"colour": 9, "grey": 1, "palette": 1, "with transparency": 1, "16 bits": 1}


def test_broken_files_are_named(found: Inspection) -> None:
    """All of them, each with the reason."""
    assert [name for name, _ in found.broken] == ["half.png", "page.png"]
    assert all(why for _, why in found.broken)
    assert found.count == 12


def test_duplicates_and_blank_images_are_named(found: Inspection) -> None:
    """As the networks would see them."""
    assert (found.duplicates, found.twins) == (1, (("colour-3.png", "copy.png"),))
    assert found.blank == ("blank.png",)


def test_a_size_is_advised_that_most_images_fill(found: Inspection) -> None:
    """And none where the images can be trained on as they are."""
    assert (found.advised_size, found.size) == (64, 64)
    assert inspect(SUBSET).advised_size is None


def test_the_sample_is_what_the_networks_will_see(motley: Path, found: Inspection) -> None:
    """Each of its images is one of those that training gets."""
    seen = {image.tobytes() for image in load(motley, 64, broken="skip").images}
    assert {image.tobytes() for image in found.sample} == seen
    assert inspect(SUBSET).sample.shape == (min(SAMPLE, 400), 28, 28, 1)


def test_as_many_are_held_out_as_training_will_hold_out(motley: Path, found: Inspection) -> None:
    """Also where grey images lie among colour."""
    assert found.held_out == len(split(load(motley, 64, broken="skip").images).held_out)
    assert inspect(SUBSET).held_out == 200


def test_few_images_are_advised_the_recipe_for_few(tmp_path: Path) -> None:
    """20,000 images that remain to train on are enough for the default one."""
    for count, advised in ((22_221, "scarce"), (22_223, "dcgan")):
        images = np.zeros((count, 8, 8), np.uint8)
        images.reshape(count, -1)[:, :4] = np.arange(count, dtype=">u4").view(np.uint8).reshape(count, 4)
        np.save(tmp_path / "a.npy", images)
        assert inspect(tmp_path / "a.npy").recipe is recipes.named(advised)


def test_the_command_says_all_of_it(motley: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In lines that a person can act on."""
    said = lines(capsys, str(motley), "--no-speed")
    assert said["images"] == f"12 in {motley}"
    assert said["sizes"].startswith("5 different ones, from 30x40 to 200x300; the most frequent is 64x64 (9)")
    assert "        16-31         1 #" in said["sizes"].replace("\n", "\n ")
    assert said["EXIF"] == "turns or mirrors 1 of them"
    assert said["seen as"] == "64x64 RGB by the networks"
    assert "--size 64 is advised" in said["size"]
    assert said["broken"].startswith("2 of 14; training refuses them; --broken skip leaves them out:\nhalf.png: ")
    assert said["duplicates"].endswith("colour-3.png and copy.png")
    assert "the generator isn't conditioned on them" in said["labels"]
    assert "the central square is cut out" in said["rules"]
    assert said["next"] == f"dcgan-train train --data {motley} --output runs/NAME --recipe scarce --size 64"
    assert "speed" not in said
    skipping = lines(capsys, str(motley), "--no-speed", "--broken", "skip", "--size", "28")
    assert skipping["broken"].startswith("2 of 14; training leaves them out:")
    assert skipping["seen as"] == "28x28 RGB by the networks"
    assert skipping["next"].endswith("--recipe scarce --size 28 --broken skip")


def test_the_speed_is_measured_by_training(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Three seconds of it, on 8-pixel images here."""
    np.save(tmp_path / "a.npy", np.stack([noise(8, 8, 1) for _ in range(64)]))
    speed = lines(capsys, str(tmp_path / "a.npy"), "--threads", "1")["speed"]
    assert int(speed.split(" images/s")[0].replace(",", "")) > 0
    assert "1 thread: the recipe's 8,000,000 images take " in speed
    assert speed.endswith(" hours")


def test_the_sheet_shows_100_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ten by ten, enlarged by a whole number."""
    sheet = tmp_path / "sheet.png"
    lines(capsys, str(SUBSET), "--no-speed", "--sheet", str(sheet))
    with Image.open(sheet) as picture:
        assert picture.size == (2 * (10 * 30 + 2),) * 2
        first = np.asarray(picture)[4:60:2, 4:60:2]
    np.testing.assert_array_equal(first, inspect(SUBSET).sample[0, :, :, 0])


def test_data_that_cannot_be_read_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And exit code 1."""
    (tmp_path / "a.png").write_text("404")
    for path, why in ((tmp_path / "nowhere", "does not exist"), (tmp_path, "none of its images can be read")):
        assert main(["inspect", str(path)]) == 1
        assert capsys.readouterr() == ("", f"error: {path}: {why}\n")


def test_a_picture_like_a_bomb_is_one_broken_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A few bytes that say they are billions of pixels are named, by `inspect` and by what trains."""
    for number in range(3):
        save(tmp_path / f"{number}.png", Image.fromarray(noise(14, 14)))
    bomb = bytearray((tmp_path / "0.png").read_bytes())
    bomb[16:24] = struct.pack(">2I", 60_000, 60_000)  # width and height
    bomb[29:33] = struct.pack(">I", zlib.crc32(bomb[12:29]))
    (tmp_path / "bomb.png").write_bytes(bomb)
    said = lines(capsys, str(tmp_path), "--no-speed")
    assert said["broken"].startswith("1 of 4; training refuses them; --broken skip leaves them out:\nbomb.png: ")
    assert "3600000000 pixels" in said["broken"]
    assert len(load(tmp_path, broken="skip")) == 3
    with pytest.raises(DataError, match=r"bomb\.png: .*pixels.*say --broken skip"):
        load(tmp_path)


def test_a_set_of_which_nearly_all_is_broken_has_a_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Though none of the images that it was to be of can be read."""
    for number in range(3000):
        (tmp_path / f"{number:04d}.png").write_bytes(b"")
    for number in (7, 8):
        save(tmp_path / f"{number:04d}.png", Image.fromarray(noise(14, 14)))
    said = lines(capsys, str(tmp_path), "--no-speed", "--sheet", str(tmp_path / "sheet.png"))
    assert said["broken"].startswith("2,998 of 3,000; ")
    assert (tmp_path / "sheet.png").is_file()


def test_a_sheet_of_another_kind_is_refused_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before minutes of decoding."""
    assert main(["inspect", str(tmp_path / "nowhere"), "--sheet", "a.txt"]) == 1
    assert "a.txt: a picture's name ends in .png" in capsys.readouterr().err


def test_inspecting_without_speed_imports_no_torch() -> None:
    """It answers in the time that decoding takes."""
    code = f"import sys; from dcgan_training.cli import main; main(['inspect', {str(SUBSET)!r}, '--no-speed'])"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_stacked_digits_are_those_of_numpys_words(tmp_path: Path) -> None:
    """Three digits, drawn uniformly, one in each channel; the same seed gives the same file, over several parts."""
    count, seed = 9_000, 5
    stack(SUBSET, count, tmp_path / "stacked.npy", seed)
    digits = read(SUBSET / "train-images-idx3-ubyte.gz", None)
    words = np.random.Philox(key=np.array([seed, 0], np.uint64)).random_raw(3 * count).reshape(count, 3)
    rows = (words % np.uint64(len(digits))).astype(np.int64)
    wanted = np.empty((count, 28, 28, 3), np.uint8)
    for channel in range(3):
        wanted[:, :, :, channel] = digits[rows[:, channel], :, :, 0]
    np.save(tmp_path / "wanted.npy", wanted)
    assert (tmp_path / "stacked.npy").read_bytes() == (tmp_path / "wanted.npy").read_bytes()


def test_stacking_overwrites_nothing(tmp_path: Path) -> None:
    """The file may be another one's data."""
    file = tmp_path / "stacked.npy"
    file.write_text("mine")
    with pytest.raises(OutputError, match=r"stacked\.npy exists; choose another --output"):
        stack(SUBSET, 10, file, 0)
    assert file.read_text() == "mine"


def test_only_grey_images_are_stacked(tmp_path: Path) -> None:
    """A channel has room for one."""
    np.save(tmp_path / "a.npy", np.stack([noise(28, 28) for _ in range(3)]))
    with pytest.raises(DataError, match="has colour; only grey images can be stacked"):
        stack(tmp_path / "a.npy", 10, tmp_path / "stacked.npy", 0)
    assert not (tmp_path / "stacked.npy").exists()


def test_the_command_stacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What it wrote is a data set to train on."""
    file = tmp_path / "stacked.npy"
    assert main(["stack", str(SUBSET), "--count", "50", "--output", str(file)]) == 0
    assert f"{file} holds 50 images; next: dcgan-train train --data {file}" in capsys.readouterr().err
    assert load(file).images.shape == (50, 28, 28, 3)
    assert main(["stack", str(SUBSET), "--count", "50", "--output", str(tmp_path / "no" / "a.npy")]) == 1
    assert "its folder does not exist" in capsys.readouterr().err
