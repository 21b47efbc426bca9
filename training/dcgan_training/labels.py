"""Labels of a data set, from an idx file or a table, and the attributes that they can give a direction to.

A column says one thing of each image, with one of a few values; an attribute is one value of one column, under a name
that can be typed bare in `direction(name)`. What people's race is taken to be gets no direction: such columns are left
out, and refused where they are asked for.
"""

import csv
import keyword
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dcgan.errors import SettingsError
from dcgan_training import known
from dcgan_training.data import Dataset, idx
from dcgan_training.errors import DataError

UNLABELLED: Final = -1
MAX_VALUES: Final = 20  # more of them are numbers or names, not kinds of thing
MIN_ROWS: Final = 20  # that a value needs to be learned from
_FILE: Final = "file"
_CLASS: Final = "class"
_CLASSES: Final = {
    "fashion-mnist": (
        "tshirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"
    ),
}  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,48}")  # of a file name of 64, direction-NAME.png
_RACE_COLUMN: Final = re.compile(r"(^|_)(races?|racial|ethni\w*|skin|ancestry|caste|nationalit\w*)(_|$)")
_RACE_VALUE: Final = re.compile(
    r"(^|_)(asians?|latin[oax]s?|hispanics?|caucasians?|african|middle_eastern|indians?)(_|$)"
)
_SHADES: Final = frozenset({"black", "white"})  # of people, where a column knows no other value, or is called so
_NO_RACE: Final = "no direction is made for what people's race or ethnicity is taken to be"
_MISNAMED: Final = frozenset({"file", "filename", "image", "path"})  # what a column `file` may have been meant by


@dataclass(frozen=True, slots=True)
class Column:
    """What one column says of each image.

    Attributes:
        name: from the header, or "class" for an idx file.
        values: that occur, sorted; those of an idx file in the order of their numbers.
        codes: int64 (n,), the place in `values` for each image of the data set, or UNLABELLED.
    """

    name: str
    values: tuple[str, ...]
    codes: NDArray[np.int64]

    @property
    def is_about_race(self) -> bool:
        """Whether its name, or one of its values, is of what people's race or ethnicity is taken to be."""
        values = {_slug(value) for value in self.values}
        return (
            _names_race(self.name)
            or _slug(self.name) in _SHADES
            or values == _SHADES
            or any(_RACE_VALUE.search(value) for value in values)
        )


@dataclass(frozen=True, slots=True)
class Attribute:
    """One value of one column, by a name for its direction."""

    name: str
    column: Column
    value: int  # its place in the column's values

    @property
    def meaning(self) -> str:
        """What the labels call it, for people: "class sneaker"."""
        return f"{self.column.name} {self.column.values[self.value]}"


def read(file: Path, data: Dataset) -> list[Column]:
    """Reads what is known of each image of a data set.

    Args:
        file: labels in the idx format, gzipped or not; or a .csv file in UTF-8 with a header, whose column `file`,
            where it has one, names the images of a folder or zip by path or by last name, and whose rows otherwise
            stand in the order of the images. An empty cell says nothing.
        data: what it labels.

    Raises:
        DataError: names the file, the line and what is allowed.
    """
    try:
        if file.suffix.lower() == ".csv":
            return _read_table(file, data)
        return [_read_idx(file, data)]
    except OSError as error:
        raise DataError(error.filename or file, error.strerror or str(error)) from error


def usable(columns: Sequence[Column]) -> tuple[list[Column], list[str]]:
    """Gives the columns of kinds of thing, none of them about race, and a note for each left out."""
    faults = [(column, _fault(column)) for column in columns]
    notes = [f"column {column.name} is left out: {fault}" for column, fault in faults if fault is not None]
    return [column for column, fault in faults if fault is None], notes


def offered(columns: Sequence[Column]) -> tuple[list[Attribute], list[str]]:
    """Gives the attributes that directions are found for where none is asked for, and a note for each left out."""
    attributes: list[Attribute] = []
    kinds, notes = usable(columns)
    for column in kinds:
        for value, text in enumerate(column.values):
            rows = int((column.codes == value).sum())
            if rows < MIN_ROWS:
                notes.append(f"{column.name} {text} is left out: it labels {rows} images; {MIN_ROWS} are needed")
                continue
            taken = {attribute.name for attribute in attributes}
            attributes.append(Attribute(_name(column.name, text, taken), column, value))
    return attributes, notes


def asked_for(columns: Sequence[Column], requests: Iterable[str]) -> list[Attribute]:
    """Gives the attributes of requests in the form NAME=COLUMN:VALUE.

    Raises:
        SettingsError: the request has another form, names what isn't there, or asks for race; says what is allowed.
    """
    attributes: dict[str, Attribute] = {}
    for request in requests:
        attribute = _asked_for(columns, request)
        if attribute.name in attributes:
            raise SettingsError(f"--attribute {attribute.name} is given twice; give each direction a name of its own")
        attributes[attribute.name] = attribute
    return list(attributes.values())


def _asked_for(columns: Sequence[Column], request: str) -> Attribute:
    name, equals, rest = request.partition("=")
    heading, colon, text = rest.partition(":")
    if not (equals and colon):
        raise SettingsError(f"--attribute {request!r} must have the form NAME=COLUMN:VALUE")
    if not _is_name(name):
        raise SettingsError(f"--attribute name {name!r} must be a letter, then up to 48 letters, digits and _")
    if _names_race(name):
        raise SettingsError(f"--attribute {request}: the name {name} can't be used: {_NO_RACE}")
    column = next((column for column in columns if column.name == heading), None)
    if column is None:
        there = ", ".join(column.name for column in columns)
        raise SettingsError(f"--attribute {request}: there is no column {heading!r}; the labels have {there}")
    fault = _fault(column)
    if fault is not None:
        raise SettingsError(f"--attribute {request}: column {heading} can't be used: {fault}")
    if text not in column.values:
        raise SettingsError(f"--attribute {request}: {heading} is never {text!r}; it is {', '.join(column.values)}")
    value = column.values.index(text)
    rows = int((column.codes == value).sum())
    if rows < MIN_ROWS:
        raise SettingsError(f"--attribute {request}: it labels {rows} images; {MIN_ROWS} are needed")
    return Attribute(name, column, value)


def _fault(column: Column) -> str | None:
    """Says why a column gives no attributes; None if it does."""
    if column.is_about_race:
        return _NO_RACE
    if not 2 <= len(column.values) <= MAX_VALUES:
        return f"it has {len(column.values)} different values; 2 to {MAX_VALUES} are allowed"
    if np.bincount(column.codes[column.codes != UNLABELLED]).max() < MIN_ROWS:
        return f"none of its values labels {MIN_ROWS} images"
    return None


def _read_idx(file: Path, data: Dataset) -> Column:
    labels = idx.read_labels(file)
    if len(labels) != len(data):
        raise DataError(file, f"has {len(labels)} labels for {len(data)} images")
    dataset = known.by_digest(data.digest)
    names = _CLASSES.get(dataset.name if dataset else "", ())
    there, codes = np.unique(labels, return_inverse=True)
    values = tuple(names[label] if label < len(names) else f"class_{label}" for label in there.tolist())
    return Column(_CLASS, values, codes.astype(np.int64))


def _read_table(file: Path, data: Dataset) -> list[Column]:
    header, rows = _rows(file)
    while len(rows) > len(data) and not any(rows[-1][1]):
        rows.pop()  # the last lines of a file are blank, not images without a label
    places = _places(file, header, rows, data)
    cells = [[""] * len(header) for _ in range(len(data))]
    for place, (_, row) in zip(places, rows, strict=True):
        if place is not None:
            cells[place] = row
    columns = []
    for number, name in enumerate(header):
        if name != _FILE:
            texts = [row[number] for row in cells]
            values = tuple(sorted(set(texts) - {""}))
            codes = {"": UNLABELLED} | {value: code for code, value in enumerate(values)}
            columns.append(Column(name, values, np.array([codes[text] for text in texts], np.int64)))
    return columns


def _rows(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Gives the header, and each row's line number and cells, stripped."""
    rows: list[tuple[int, list[str]]] = []
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened, strict=True)
            header = [cell.strip() for cell in next(reader, [])]
            for cells in reader:
                row = cells or ([""] if len(header) == 1 else [])  # an empty cell alone is a blank line
                if row and len(row) != len(header):
                    raise DataError(
                        file, f"line {reader.line_num} has {len(row)} cells; the header has {len(header)} columns"
                    )
                if row:
                    rows.append((reader.line_num, [cell.strip() for cell in row]))
    except (csv.Error, UnicodeDecodeError) as error:
        raise DataError(file, f"after line {len(rows) + 1}: it is no table in UTF-8 ({error})") from error
    if len(set(header)) != len(header) or not all(header) or set(header) <= {_FILE}:
        raise DataError(file, "line 1 must be a header: different names, one of them other than `file`")
    misnamed = [name for name in header if name.lower() in _MISNAMED and name != _FILE]
    if misnamed and _FILE not in header:
        raise DataError(file, f"has a column {misnamed[0]}; call it `file` if it names the images, or else otherwise")
    return header, rows


def _places(
    file: Path, header: list[str], rows: list[tuple[int, list[str]]], data: Dataset
) -> list[int | None] | list[int]:
    """Finds which image each row is of; None for a row of a file that the data set doesn't have."""
    if _FILE not in header:
        if len(rows) != len(data):
            raise DataError(file, f"has {len(rows)} rows for {len(data)} images, and no column `file` to match them by")
        return list(range(len(rows)))
    if not data.names:
        raise DataError(file, "has a column `file`, but the images are in an idx file, where they have no names")
    by_name = _by_name(data.names)
    column, seen = header.index(_FILE), dict[int, int]()
    places: list[int | None] = []
    for line, row in rows:
        place = by_name.get(row[column].replace("\\", "/").removeprefix("./"))
        if place == _AMBIGUOUS:
            raise DataError(file, f"line {line}: several images are called {row[column]}; give the path below the data")
        if place is not None and place in seen:
            raise DataError(file, f"line {line} is of the same image as line {seen[place]}: {row[column]}")
        if place is not None:
            seen[place] = line
        places.append(place)
    if not seen:
        raise DataError(file, f"line 2 on: none of the files is in the data, where the first is {data.names[0]}")
    return places


_AMBIGUOUS: Final = -1


def _by_name(names: tuple[str, ...]) -> dict[str, int]:
    """Gives the place of each image by its path, else by its last name where that is the only one of its kind."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        last = PurePosixPath(name).name
        places[last] = _AMBIGUOUS if last in places else place
    return places | {name: place for place, name in enumerate(names)}


def _name(column: str, value: str, taken: set[str]) -> str:
    """Names an attribute by its value, by column and value where that is no name or is taken, else by a number too."""
    whole = _slug(f"{column}_{value}")[:40].strip("_") or "value"  # of words without a Latin letter nothing is left
    candidates = chain([_slug(value), whole, f"is_{whole}"], (f"is_{whole}_{number}" for number in count(2)))
    return next(name for name in candidates if _is_name(name) and name not in taken)


def _is_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None and not keyword.iskeyword(text)


def _names_race(text: str) -> bool:
    slug = _slug(text)
    return bool(_RACE_COLUMN.search(slug) or _RACE_VALUE.search(slug))


def _slug(text: str) -> str:
    """Gives the words of a text, CamelCase ones too, in small letters and joined by _."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower()).strip("_")
