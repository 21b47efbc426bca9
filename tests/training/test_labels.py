import gzip
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dcgan.errors import SettingsError
from dcgan_training import known, labels
from dcgan_training.data import Dataset, load
from dcgan_training.errors import DataError
from runs import SUBSET

COUNT = 80
NAMES = tuple(f"{'left' if number % 2 else 'right'}/{number:03d}.png" for number in range(COUNT))
DATA = Dataset(np.zeros((COUNT, 8, 8, 1), np.uint8), "0" * 64, NAMES)


def idx(values: list[int], magic: int = 0x801, count: int | None = None) -> bytes:
    """Encodes labels in the idx format."""
    return struct.pack(">2I", magic, len(values) if count is None else count) + bytes(values)


def table(directory: Path, *lines: str) -> Path:
    """Writes a .csv file."""
    file = directory / "labels.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def people(directory: Path) -> Path:
    """Writes a table as of a data set of faces: half of each gender, half of each age, half of each race."""
    rows = (f"{number:03d}.png,{('Female', 'Male')[number % 2]},{('3-9', 'more than 70')[number // 40]},White"
            for number in range(COUNT - 1))  # fmt: skip
    return table(directory, "file,gender,age,race", *rows, "079.png,Male,more than 70,Black")


def names(columns: list[labels.Column]) -> list[str]:
    """Gives the names of the attributes that are offered."""
    return [attribute.name for attribute in labels.offered(columns)[0]]


def refusal(file: Path, data: Dataset = DATA) -> str:
    """Gives the message with which labels are refused."""
    with pytest.raises(DataError) as refused:
        labels.read(file, data)
    assert str(file) in str(refused.value)
    return str(refused.value)


def test_idx_labels_are_classes_by_number(tmp_path: Path) -> None:
    """Gzipped or not, of those numbers that occur."""
    values = [number % 2 * 7 for number in range(COUNT)]
    (tmp_path / "plain").write_bytes(idx(values))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(values)))
    for name in ("plain", "packed.gz"):
        (column,) = labels.read(tmp_path / name, DATA)
        assert column.values == ("class_0", "class_7")
        assert column.codes.tolist() == [number % 2 for number in range(COUNT)]


def test_classes_of_fashion_mnist_have_names() -> None:
    """Known by the digest of the images."""
    data = replace(load(SUBSET), digest=known.FASHION_MNIST.digest)
    assert names(labels.read(SUBSET / "train-labels-idx1-ubyte.gz", data)) == [
        "tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (idx([0] * 79), "79 labels for 80 images"),
        (idx([0] * 80, count=81), "says 81 labels but 80 follow"),
        (idx([0] * 80, magic=0x803), "neither an idx file of labels nor a .csv file"),
        (b"", "neither an idx file of labels nor a .csv file"),
    ],
)
def test_idx_labels_that_do_not_fit_are_refused(tmp_path: Path, content: bytes, why: str) -> None:
    """With the counts, or what is allowed."""
    (tmp_path / "labels").write_bytes(content)
    assert why in refusal(tmp_path / "labels")


def test_a_column_file_matches_rows_to_images_in_any_order(tmp_path: Path) -> None:
    """By path or by last name; images and files without a partner say nothing."""
    lines = ["colour,file", "red,003.png", "blue,left/001.png", ",005.png", "red,elsewhere.png"]
    (column,) = labels.read(table(tmp_path, *lines), DATA)
    assert column.values == ("blue", "red")
    assert {place: code for place, code in enumerate(column.codes.tolist()) if code != labels.UNLABELLED} == {
        3: 1,
        1: 0,
    }


def test_rows_without_a_column_file_go_in_order(tmp_path: Path) -> None:
    """As many as there are images."""
    (column,) = labels.read(table(tmp_path, "kind", *("ab"[number % 2] for number in range(COUNT))), DATA)
    assert column.codes.tolist() == [number % 2 for number in range(COUNT)]


def test_words_without_a_latin_letter_are_numbered(tmp_path: Path) -> None:
    """However many there are; what they mean is told beside the name."""
    words = [chr(0x4E00 + number % 20) for number in range(400)]
    header = ",".join(chr(0x5000 + number) for number in range(3))
    data = Dataset(np.zeros((400, 8, 8, 1), np.uint8), "0" * 64)
    attributes, _ = labels.offered(labels.read(table(tmp_path, header, *(f"{w},{w},{w}" for w in words)), data))
    assert len({attribute.name for attribute in attributes}) == 60
    assert attributes[0].meaning == f"{chr(0x5000)} {chr(0x4E00)}"


def test_a_column_that_labels_hardly_anything_is_left_out(tmp_path: Path) -> None:
    """There is too little to learn any of its values from."""
    cells = ["ab"[number % 2] if number < 38 else "" for number in range(COUNT)]
    columns, notes = labels.usable(labels.read(table(tmp_path, "kind", *cells), DATA))
    assert columns == []
    assert notes == ["column kind is left out: none of its values labels 20 images"]


def test_a_blank_line_is_an_empty_cell_of_the_only_column(tmp_path: Path) -> None:
    """But for those at the end that are more than images."""
    cells = ["" if number % 4 == 3 else "ab"[number % 2] for number in range(COUNT)]
    (column,) = labels.read(table(tmp_path, "kind", *cells, "", ""), DATA)
    assert column.codes.tolist() == [[0, 1, 0, labels.UNLABELLED][number % 4] for number in range(COUNT)]


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["kind", "a"], "1 rows for 80 images"),
        (["file,kind", "003.png,a", "003.png,b"], "line 3 is of the same image as line 2"),
        (["file,kind", "003.png"], "line 2 has 1 cells; the header has 2"),
        (["file,kind", "no.png,a"], "none of the files is in the data"),
        (["file", "003.png"], "line 1 must be a header"),
        (["kind,kind", "a,b"], "line 1 must be a header"),
        (["file,kind", '003.png,"a'], "no table"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path: Path, lines: list[str], why: str) -> None:
    """With the line, and what is allowed."""
    assert why in refusal(table(tmp_path, *lines))


def test_a_last_name_that_several_images_have_is_refused(tmp_path: Path) -> None:
    """The path says which one is meant."""
    data = replace(DATA, names=("a/1.png", "b/1.png", *NAMES[2:]))
    assert "line 2: several images are called 1.png" in refusal(table(tmp_path, "file,kind", "1.png,x"), data)
    labels.read(table(tmp_path, "file,kind", "a/1.png,x"), data)


def test_files_can_not_be_matched_to_images_without_names(tmp_path: Path) -> None:
    """As of an idx file."""
    assert "they have no names" in refusal(table(tmp_path, "file,kind", "1.png,x"), replace(DATA, names=()))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """In the words of the system."""
    assert "No such file" in refusal(tmp_path / "none.csv")


def test_race_is_left_out_with_a_note(tmp_path: Path) -> None:
    """Gender and age are offered, by names that can be typed."""
    columns = labels.read(people(tmp_path), DATA)
    assert names(columns) == ["female", "male", "age_3_9", "more_than_70"]
    assert [note for note in labels.offered(columns)[1] if "race" in note]


@pytest.mark.parametrize("heading", ["Asian", "Indian", "White", "Black", "PerceivedRace", "skinTone"])
def test_columns_of_zeros_and_ones_that_are_named_after_a_race_are_left_out(tmp_path: Path, heading: str) -> None:
    """As data sets of faces have them; CamelCase is read as words."""
    lines = [heading, *("01"[number % 2] for number in range(COUNT))]
    assert names(labels.read(table(tmp_path, *lines), DATA)) == []


def test_a_column_that_only_tells_black_from_white_is_left_out(tmp_path: Path) -> None:
    """Whatever it is called; with other colours beside them, it is of colours."""
    for values, offered in ((("Black", "White"), []), (("black", "white", "red"), ["black", "red", "white"])):
        lines = ["group", *(values[number % len(values)] for number in range(COUNT))]
        assert names(labels.read(table(tmp_path, *lines), DATA)) == offered


@pytest.mark.parametrize("heading", ["skincare", "racecar", "bracelet"])
def test_words_that_only_begin_like_race_are_offered(tmp_path: Path, heading: str) -> None:
    """They are of other things."""
    lines = [heading, *(("yes", "no")[number % 2] for number in range(COUNT))]
    assert names(labels.read(table(tmp_path, *lines), DATA)) == ["no", "yes"]


@pytest.mark.parametrize("name", ["asian", "perceivedRace", "indians", "skin_dark"])
def test_a_direction_can_not_be_named_after_a_race(tmp_path: Path, name: str) -> None:
    """Whatever column it is asked for of."""
    with pytest.raises(SettingsError, match="no direction is made for what people's race"):
        labels.asked_for(labels.read(people(tmp_path), DATA), [f"{name}=gender:Male"])


def test_a_name_leaves_room_for_the_name_of_its_picture(tmp_path: Path) -> None:
    """49 characters are allowed; those that are offered are no longer."""
    columns = labels.read(people(tmp_path), DATA)
    labels.asked_for(columns, [f"{'x' * 49}=gender:Male"])
    with pytest.raises(SettingsError, match="up to 48"):
        labels.asked_for(columns, [f"{'x' * 50}=gender:Male"])
    lines = ["heading " * 10, *("ab"[number % 2] * 60 for number in range(COUNT))]
    assert max(map(len, names(labels.read(table(tmp_path, *lines), DATA)))) <= 49


def test_a_path_means_the_image_at_the_root_before_a_namesake_below(tmp_path: Path) -> None:
    """Its last name alone could mean either."""
    data = replace(DATA, names=("a/1.png", "1.png", *NAMES[2:]))
    (column,) = labels.read(table(tmp_path, "file,kind", "1.png,x"), data)
    assert np.flatnonzero(column.codes != labels.UNLABELLED).tolist() == [1]


@pytest.mark.parametrize("heading", ["File", "filename", "image", "Path"])
def test_a_misnamed_column_file_is_refused(tmp_path: Path, heading: str) -> None:
    """Its rows would be taken to be in the order of the images."""
    assert f"has a column {heading}; call it `file`" in refusal(table(tmp_path, f"{heading},kind", "003.png,x"))


@pytest.mark.parametrize("heading", ["race", "Ethnicity", "skin tone", "perceived_race", "group"])
def test_race_can_not_be_asked_for(tmp_path: Path, heading: str) -> None:
    """Whatever the column is called, so long as its name or its values tell."""
    lines = [heading, *(("East Asian", "White")[number % 2] for number in range(COUNT))]
    columns = labels.read(table(tmp_path, *lines), DATA)
    with pytest.raises(SettingsError, match="no direction is made for what people's race"):
        labels.asked_for(columns, [f"x={heading}:White"])


def test_an_attribute_has_the_name_that_is_asked_for(tmp_path: Path) -> None:
    """NAME=COLUMN:VALUE."""
    (attribute,) = labels.asked_for(labels.read(people(tmp_path), DATA), ["old=age:more than 70"])
    assert (attribute.name, attribute.meaning, attribute.value) == ("old", "age more than 70", 1)


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        ("old", "must have the form NAME=COLUMN:VALUE"),
        ("1st=age:3-9", "must be a letter, then"),
        ("class=age:3-9", "must be a letter, then"),
        ("old=years:3-9", "the labels have gender, age, race"),
        ("old=age:90", "it is 3-9, more than 70"),
    ],
)
def test_attributes_that_are_not_there_are_refused(tmp_path: Path, request_: str, why: str) -> None:
    """With what is there."""
    with pytest.raises(SettingsError, match=why):
        labels.asked_for(labels.read(people(tmp_path), DATA), [request_])


def test_an_attribute_asked_for_twice_is_refused(tmp_path: Path) -> None:
    """One name, one direction."""
    with pytest.raises(SettingsError, match="given twice"):
        labels.asked_for(labels.read(people(tmp_path), DATA), ["x=age:3-9", "x=gender:Male"])


def test_equal_values_of_two_columns_have_different_names(tmp_path: Path) -> None:
    """By their columns; Python's own words get theirs too."""
    lines = ["hat,coat", *(("yes,yes", "no,None")[number % 2] for number in range(COUNT))]
    assert names(labels.read(table(tmp_path, *lines), DATA)) == ["no", "yes", "none", "coat_yes"]


def test_columns_with_too_few_or_too_many_values_are_left_out(tmp_path: Path) -> None:
    """Two to twenty values make kinds of thing; a value needs twenty images."""
    lines = ["same,number,kind", *(f"x,{number},{'a' if number < 70 else 'b'}" for number in range(COUNT))]
    columns = labels.read(table(tmp_path, *lines), DATA)
    assert names(columns) == ["a"]
    assert len(labels.offered(columns)[1]) == 3
