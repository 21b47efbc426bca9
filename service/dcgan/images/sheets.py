"""The arithmetic sheet: a sum of pictures written out so that it reads without a caption.

The layout is that of figure 7 in Radford et al. 2016, arXiv:1511.06434: above each term its exemplars, in one row
the terms' means with + and - between, then = and the result in the middle of its neighbours. Below, where it is asked
for, stands the same sum of pixels instead of latents, as in figure 8: misaligned pictures, added, show as ghosts.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from dcgan.images.codecs import from_pillow, to_pillow
from dcgan.images.encoders import Pixels
from dcgan.images.layout import enlarged_to

if TYPE_CHECKING:
    from PIL import Image

_TILE: Final = 112  # pixels, at least, of each picture's longer side
_GAP: Final = 8
_BETWEEN: Final = 56  # width between two terms, where the operator stands
_LINE: Final = 18
_TEXT_SIZE: Final = 14
_OPERATOR_SIZE: Final = 34


@dataclass(frozen=True, slots=True)
class SheetTerm:
    """One term of the sum.

    Attributes:
        label: what it shows, in a few words; long ones are broken into lines.
        weight: its factor in the sum.
        mean: uint8 (h, w, c), the picture of its mean.
        exemplars: uint8 (k, h, w, c), what the mean is of, drawn above it; k may be 0.
    """

    label: str
    weight: float
    mean: Pixels
    exemplars: Pixels


def pixel_sum(terms: Sequence[SheetTerm]) -> Pixels:
    """Adds up the terms' pictures, each the mean of its exemplars: uint8 (h, w, c), clipped to what can be shown."""
    return _levels(sum((term.weight * _pixel_mean(term) for term in terms), np.zeros(terms[0].mean.shape)))


def sheet(terms: Sequence[SheetTerm], result: Pixels, neighbours: Pixels, *, pixels: bool = False) -> Pixels:
    """Draws the sum.

    Args:
        terms: at least one; pictures of the shape of the result.
        result: uint8 (h, w, c), the picture of the sum.
        neighbours: uint8 (n, h, w, c), drawn around the result: 8 make it the middle of 3 x 3; n may be 0.
        pixels: whether to draw the same sum of pixels below.

    Returns:
        uint8 of shape (H, W, c).
    """
    if not terms:
        raise ValueError("a sheet needs at least one term")
    plan = _Plan.of(terms, result, len(neighbours), pixels)
    canvas = to_pillow(np.full((plan.height, plan.width, result.shape[2]), 255, np.uint8))
    for number, term in enumerate(terms):
        _draw_term(canvas, plan, number, term)
    _draw_result(canvas, plan, result, neighbours)
    if pixels:
        _draw_pixels(canvas, plan, terms)
    return from_pillow(canvas)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where things stand, in pixels."""

    tile_width: int
    tile_height: int
    term_count: int
    block_columns: int
    block_rows: int
    row_top: int  # of the row of means
    pixel_top: int  # of the row of pixel means, if there is one
    height: int

    @classmethod
    def of(cls, terms: Sequence[SheetTerm], result: Pixels, neighbour_count: int, pixels: bool) -> "_Plan":
        """Plans a sheet: what stands above and below the row of means decides the height."""
        height, width = enlarged_to(result, _TILE).shape[:2]
        columns = math.isqrt(neighbour_count) + 1
        rows = -(-(neighbour_count + 1) // columns)
        step = height + _GAP
        exemplar_rows = max(len(term.exemplars) for term in terms)
        label_lines = max(len(_lines(term.label, width)) for term in terms)
        above = max(exemplar_rows * step + _GAP * (exemplar_rows > 0), rows // 2 * step)
        below = max(label_lines * _LINE, (rows - 1 - rows // 2) * step + _LINE)
        top = above + _GAP
        bottom = top + height + _GAP + below + _GAP
        pixel_top = bottom + 2 * _GAP + _LINE + _GAP
        end = pixel_top + height + _GAP + _LINE + _GAP
        return cls(width, height, len(terms), columns, rows, top, pixel_top, end if pixels else bottom)

    @property
    def width(self) -> int:
        """Width of the whole sheet."""
        return self.block_left + self.block_columns * (self.tile_width + _GAP)

    @property
    def block_left(self) -> int:
        """Left edge of the result and its neighbours."""
        return self.term_left(self.term_count)

    def term_left(self, number: int) -> int:
        """Left edge of a term; the first has room for an operator too, since it may be subtracted."""
        return _BETWEEN + number * (self.tile_width + _BETWEEN)


def _draw_term(canvas: "Image.Image", plan: _Plan, number: int, term: SheetTerm) -> None:
    left = plan.term_left(number)
    _paste(canvas, term.mean, left, plan.row_top)
    for row, exemplar in enumerate(reversed(term.exemplars)):
        _paste(canvas, exemplar, left, plan.row_top - _GAP - (row + 1) * (plan.tile_height + _GAP))
    if len(term.exemplars):
        _draw_bar(canvas, left, plan.row_top - _GAP - 1, plan.tile_width)
    _write_operator(canvas, plan, left, plan.row_top, _operator(term.weight, number == 0))
    middle = left + plan.tile_width // 2
    for line, text in enumerate(_lines(term.label, plan.tile_width)):
        _write(canvas, middle, plan.row_top + plan.tile_height + _GAP + line * _LINE + _LINE // 2, text, _TEXT_SIZE)


def _draw_result(canvas: "Image.Image", plan: _Plan, result: Pixels, neighbours: Pixels) -> None:
    from PIL import ImageDraw

    _write_operator(canvas, plan, plan.block_left, plan.row_top, "=")
    places = _places(plan)
    left, top = next(places)
    frame = (left - 5, top - 5, left + plan.tile_width + 4, top + plan.tile_height + 4)
    ImageDraw.Draw(canvas).rectangle(frame, outline="black", width=3)
    _paste(canvas, result, left, top)
    bottom = top + plan.tile_height
    for neighbour, (left, top) in zip(neighbours, places, strict=False):
        _paste(canvas, neighbour, left, top)
        bottom = max(bottom, top + plan.tile_height)
    text = "result, among its neighbours" if len(neighbours) else "result"
    middle = (plan.block_left + plan.width - _GAP) // 2
    _write(canvas, middle, bottom + _GAP + _LINE // 2, text, _TEXT_SIZE)


def _draw_pixels(canvas: "Image.Image", plan: _Plan, terms: Sequence[SheetTerm]) -> None:
    """Draws the row below: the mean of each term's exemplars, and what they come to, pixel by pixel."""
    from PIL import ImageDraw

    top = plan.pixel_top
    line = top - _GAP - _LINE - _GAP
    ImageDraw.Draw(canvas).rectangle((_GAP, line, plan.width - _GAP, line), fill="grey")
    _write(canvas, plan.width // 2, line + _GAP + _LINE // 2, "the same sum of pixels, for comparison", _TEXT_SIZE)
    for number, term in enumerate(terms):
        left = plan.term_left(number)
        _paste(canvas, _levels(_pixel_mean(term)), left, top)
        _write_operator(canvas, plan, left, top, _operator(term.weight, number == 0))
    _write_operator(canvas, plan, plan.block_left, top, "=")
    _paste(canvas, pixel_sum(terms), plan.block_left, top)
    middle = plan.block_left + plan.tile_width // 2
    _write(canvas, middle, top + plan.tile_height + _GAP + _LINE // 2, "sum of pixels", _TEXT_SIZE)


def _pixel_mean(term: SheetTerm) -> NDArray[np.float64]:
    """Takes the mean of a term's exemplars, pixel by pixel; a term without any is its own."""
    mean: NDArray[np.float64] = (term.exemplars if len(term.exemplars) else term.mean[None]).mean(axis=0)
    return mean


def _levels(levels: NDArray[np.float64]) -> Pixels:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _places(plan: _Plan) -> Iterator[tuple[int, int]]:
    """Gives left and top of every place of the block: the middle first, then row by row."""
    middle = plan.block_rows // 2, plan.block_columns // 2
    cells = [(row, column) for row in range(plan.block_rows) for column in range(plan.block_columns)]
    cells.remove(middle)
    for row, column in (middle, *cells):
        left = plan.block_left + column * (plan.tile_width + _GAP)
        yield left, plan.row_top + (row - middle[0]) * (plan.tile_height + _GAP)


def _operator(weight: float, first: bool) -> str:
    factor = "" if abs(weight) == 1.0 else f"{abs(weight):.4g}\N{MIDDLE DOT}"
    sign = "-" if weight < 0 else "" if first else "+"
    return f"{sign}{factor}"


def _lines(label: str, tile_width: int) -> list[str]:
    characters = (tile_width + _BETWEEN) // (_TEXT_SIZE // 2 + 1)
    return textwrap.wrap(label, characters, max_lines=4, placeholder=" ...")


def _paste(canvas: "Image.Image", image: Pixels, left: int, top: int) -> None:
    canvas.paste(to_pillow(enlarged_to(image, _TILE)), (left, top))


def _draw_bar(canvas: "Image.Image", left: int, middle: int, width: int) -> None:
    """Draws the line under which, as below a column of figures, stands what they come to."""
    from PIL import ImageDraw

    ImageDraw.Draw(canvas).rectangle((left, middle, left + width - 1, middle + 1), fill="black")


def _write_operator(canvas: "Image.Image", plan: _Plan, right: int, top: int, text: str) -> None:
    size = _OPERATOR_SIZE if len(text) < 3 else _TEXT_SIZE
    _write(canvas, right - _BETWEEN // 2, top + plan.tile_height // 2, text, size)


def _write(canvas: "Image.Image", x: int, y: int, text: str, size: int) -> None:
    """Writes text with its middle at (x, y), in the font that is part of Pillow."""
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(canvas).text((x, y), text, fill="black", font=ImageFont.load_default(size), anchor="mm")
