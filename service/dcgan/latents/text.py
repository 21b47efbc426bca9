"""Expressions as text, for the shell: `mean(1, 2, 3) - mean(4, 5, 6)`, `seed(7) + 1.5*direction(sneaker)`.

The text is read with Python's own grammar (`ast`), of which only what the table below names is accepted; nothing is
ever executed. A whole number on its own is a seed; next to `*` or after `/` a number is a factor, and so both sides
of `*` can't be numbers. Every refusal quotes the part that is wrong and says what is allowed.

    7, seed(7), seed(7, 3)              the latent of seed 7, at index 0 or 3
    seed(7, truncation=0.7)             the same, cut at 0.7
    direction(sneaker)                  a direction of the bundle; names that are no single word in quotes
    values(0.1, -2.0, ...)              a latent by its values
    image(face.png)                     the latent of an image file; "my face.png" in quotes, or a data: URI in base64
    image(face.png, refine_steps=50)    the same, refined
    mean(a, b, ...)                     the mean of expressions
    mix(a, b, 0.25)                     a quarter of the way from a to b; also with curve=linear or spherical
    a + b, a - b, -a, 2*a, a/2, (a)     sums and weights
    raw(a)                              around the whole: sums are left as they are, not normalised to the prior
"""

import ast
import base64
import binascii
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dcgan.errors import ExpressionError
from dcgan.latents import expressions
from dcgan.latents.expressions import Expression
from dcgan.latents.paths import Curve
from dcgan.latents.syntax import FORMS, name_of, number_of, single_spaced, syntax_tree, with_files_quoted

MAX_LENGTH: Final = 10_000  # characters
MAX_DEPTH: Final = 50  # calls and parentheses inside each other
MAX_WEIGHT: Final = 1e6  # as on the wire
DATA_URI: Final = "data:image;base64,"  # how an image's bytes begin that are written out
_CURVES: Final[Mapping[str, Curve]] = {"linear": "linear", "spherical": "spherical"}


@dataclass(frozen=True, slots=True)
class Term:
    """One term of a sum: the mean of its exemplars times a weight.

    Attributes:
        exemplars: at least one; the paper takes three.
        weight: factor, negative to subtract.
        label: what it shows, for people.
    """

    exemplars: tuple[Expression, ...]
    weight: float = 1.0
    label: str = ""


def parse(text: str) -> Expression:
    """Reads one expression; raises ExpressionError that quotes the part at fault."""
    try:
        return _Reader(text).expression()
    except RecursionError:  # in factors and signs, whose depth Python's own grammar bounds first, or nearly so
        raise _too_deep() from None


def terms(text: str) -> list[Term]:
    """Reads a sum and splits it into its terms, for arithmetic.

    A term `mean(...)` has the arguments as its exemplars, any other term is its own only exemplar; labels are the
    terms' text. Raises ExpressionError as `parse` does.
    """
    try:
        return _Reader(text).terms()
    except RecursionError:
        raise _too_deep() from None


class _Reader:
    """Walks the syntax tree of one text; keeps the text to quote from."""

    def __init__(self, text: str) -> None:
        self._text = single_spaced(text)
        if len(self._text) > MAX_LENGTH:
            raise ExpressionError(f"the expression has {len(self._text):,} characters; allowed: {MAX_LENGTH:,}")
        if not self._text:
            raise ExpressionError(f"the expression is empty; allowed: {FORMS}")
        self._text = with_files_quoted(self._text)
        self._root = syntax_tree(self._text)

    def expression(self) -> Expression:
        root = self._root
        if isinstance(root, ast.Call) and name_of(root.func) == "raw":
            return self._sum(self._arguments(root, ("expression",), required=1)["expression"], 0).raw()
        return self._sum(root, 0)

    def terms(self) -> list[Term]:
        return [self._term(node, weight) for weight, node in self._weighted(self._root, 1.0, 0)]

    def _term(self, node: ast.expr, weight: float) -> Term:
        if isinstance(node, ast.Call) and name_of(node.func) == "mean":
            exemplars = self._means(node, 1)
        else:
            exemplars = [self._operand(node, 1)]
        label = f"seed {self._quoted(node)}" if isinstance(node, ast.Constant) else self._quoted(node, 200)
        return Term(tuple(exemplars), weight, label)

    def _sum(self, node: ast.expr, depth: int) -> Expression:
        """Reads a sum; what stands in parentheses stays a sum of its own, so that it is added up as it was written."""
        if depth > MAX_DEPTH:
            raise _too_deep()
        signed: list[tuple[float, ast.expr]] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            signed.append((1.0 if isinstance(node.op, ast.Add) else -1.0, node.right))
            node = node.left  # long sums nest to the left, which needs no recursion
        terms = [self._product(part, sign, depth) for sign, part in [(1.0, node), *reversed(signed)]]
        ((first, weight), *others) = terms
        if weight is None and not others:
            return first
        return expressions.weighted([(operand, 1.0 if factor is None else factor) for operand, factor in terms])

    def _product(self, node: ast.expr, sign: float, depth: int) -> tuple[Expression, float | None]:
        """Reads a term and its weight, None for one that has neither sign nor factor."""
        weight = None if sign == 1.0 else sign
        while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            if isinstance(node.op, ast.USub):
                weight = -1.0 if weight is None else -weight
            node = node.operand
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
            factor, node = self._factor(node)
            weight = factor if weight is None else weight * factor
        if weight is not None:
            self._check_weight(weight, node)
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            return self._sum(node, depth + 1), weight
        return self._operand(node, depth), weight

    def _check_weight(self, weight: float, node: ast.expr) -> None:
        if not abs(weight) <= MAX_WEIGHT:
            raise self._wrong(node, f"its weight is {weight:g}; allowed: -{MAX_WEIGHT:,.0f} to {MAX_WEIGHT:,.0f}")

    def _weighted(self, node: ast.expr, weight: float, depth: int) -> Iterator[tuple[float, ast.expr]]:
        """Splits a sum into weights and operands, through parentheses, for `terms`."""
        right: list[tuple[float, ast.expr]] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            right.append((weight if isinstance(node.op, ast.Add) else -weight, node.right))
            node = node.left
        for factor, part in [(weight, node), *reversed(right)]:
            yield from self._scaled(part, factor, depth + 1)

    def _scaled(self, node: ast.expr, weight: float, depth: int) -> Iterator[tuple[float, ast.expr]]:
        """Takes factors and signs off a term."""
        if depth > MAX_DEPTH:
            raise _too_deep()
        match node:
            case ast.UnaryOp(ast.USub(), operand):
                yield from self._weighted(operand, -weight, depth)
            case ast.UnaryOp(ast.UAdd(), operand):
                yield from self._weighted(operand, weight, depth)
            case ast.BinOp(_, ast.Mult() | ast.Div(), _):
                factor, operand = self._factor(node)
                yield from self._weighted(operand, weight * factor, depth)
            case ast.BinOp(_, ast.Add() | ast.Sub(), _):
                yield from self._weighted(node, weight, depth)
            case _:
                self._check_weight(weight, node)
                yield weight, node

    def _factor(self, node: ast.BinOp) -> tuple[float, ast.expr]:
        left, right = number_of(node.left), number_of(node.right)
        if isinstance(node.op, ast.Div):
            if right is None:
                raise self._wrong(node, "what stands after / must be a number")
            if right == 0.0:
                raise self._wrong(node, "the divisor must not be zero")
            return 1.0 / right, node.left
        if left is not None and right is not None:
            raise self._wrong(node, "one side of * must be an expression; a seed next to * is written as seed(3)")
        if left is not None:
            return left, node.right
        if right is not None:
            return right, node.left
        raise self._wrong(node, "one side of * must be a number; latents can't be multiplied with each other")

    def _operand(self, node: ast.expr, depth: int) -> Expression:
        match node:
            case ast.Constant(int(value)) if not isinstance(value, bool):
                return expressions.seed(value)
            case ast.Constant(float()):
                raise self._wrong(node, "a number on its own is a seed, which is whole; a weight stands before *")
            case ast.Call(ast.Name(name)) if name in self._functions:
                return self._functions[name](self, node, depth + 1)
            case ast.Call(ast.Name("raw")):
                raise self._wrong(node, "raw stands around a whole expression and nowhere else, least in arithmetic")
            case ast.Name(name):
                raise self._wrong(node, f"there is no such name; is direction({name}) meant?")
            case ast.Call():
                raise self._wrong(node.func, f"there is no such function; allowed: {', '.join(self._functions)}")
            case _:
                raise self._wrong(node, f"this is no latent; allowed: {FORMS}")

    def _seed(self, call: ast.Call, _depth: int) -> Expression:
        given = self._arguments(call, ("seed", "index", "truncation"), required=1)
        truncation = given.get("truncation")
        return expressions.seed(
            self._whole(given["seed"]),
            self._whole(given["index"]) if "index" in given else 0,
            truncation=None if truncation is None else self._real(truncation),
        )

    def _direction(self, call: ast.Call, _depth: int) -> Expression:
        node = self._arguments(call, ("name",), required=1)["name"]
        name = name_of(node)
        if not name:
            raise self._wrong(node, 'a direction is a name; quote one that is no single word: direction("ankle boot")')
        return expressions.direction(name)

    def _values(self, call: ast.Call, _depth: int) -> Expression:
        if call.keywords or not call.args:
            raise self._wrong(call, "values takes the numbers of one latent")
        return expressions.values([self._real(argument) for argument in call.args])

    def _image(self, call: ast.Call, _depth: int) -> Expression:
        given = self._arguments(call, ("file", "refine_steps"), required=1)
        steps = self._whole(given["refine_steps"]) if "refine_steps" in given else 0
        file = name_of(given["file"])
        if not file:
            raise self._wrong(given["file"], "an image is a file's path; quote one with spaces in it")
        return expressions.image(
            self._bytes(file, given["file"]) if file.startswith("data:") else file, refine_steps=steps
        )

    def _bytes(self, uri: str, node: ast.expr) -> bytes:
        kind, separator, data = uri.partition(";base64,")
        try:
            if not separator or "," in kind:
                raise binascii.Error
            return base64.b64decode(data, validate=True)
        except ValueError:
            raise self._wrong(node, f"the bytes of an image are written as {DATA_URI}...") from None

    def _mean(self, call: ast.Call, depth: int) -> Expression:
        return expressions.mean(*self._means(call, depth))

    def _means(self, call: ast.Call, depth: int) -> list[Expression]:
        if call.keywords or not call.args:
            raise self._wrong(call, "mean takes one or more expressions")
        return [self._sum(argument, depth) for argument in call.args]

    def _mix(self, call: ast.Call, depth: int) -> Expression:
        given = self._arguments(call, ("start", "end", "t", "curve"), required=3)
        curve = None
        if "curve" in given:
            curve = _CURVES.get(name_of(given["curve"]))
            if curve is None:
                raise self._wrong(given["curve"], "a curve is linear or spherical")
        start, end = self._sum(given["start"], depth), self._sum(given["end"], depth)
        return expressions.mix(start, end, self._real(given["t"]), curve=curve)

    _functions: Final[Mapping[str, Callable[["_Reader", ast.Call, int], Expression]]] = {
        "seed": _seed,
        "direction": _direction,
        "mean": _mean,
        "mix": _mix,
        "values": _values,
        "image": _image,
    }

    def _arguments(self, call: ast.Call, names: tuple[str, ...], required: int) -> dict[str, ast.expr]:
        """Matches a call's arguments with their names; those after the first `required` may be left out."""
        given = dict(zip(names, call.args, strict=False))
        for keyword in call.keywords:
            if keyword.arg not in names or keyword.arg in given:
                raise self._wrong(call, f"allowed are {', '.join(names)}, each once")
            given[keyword.arg] = keyword.value
        if len(call.args) > len(names) or any(name not in given for name in names[:required]):
            raise self._wrong(call, f"allowed are {', '.join(names)}; needed: {', '.join(names[:required])}")
        return given

    def _whole(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(int(value)) if not isinstance(value, bool):
                return value
        raise self._wrong(node, "a whole number from 0 to 2^64 - 1 is needed")

    def _real(self, node: ast.expr) -> float:
        value = number_of(node)
        if value is None:
            raise self._wrong(node, "a number is needed")
        return value

    def _wrong(self, node: ast.expr, why: str) -> ExpressionError:
        return ExpressionError(f"in the expression, {self._quoted(node)!r}: {why}")

    def _quoted(self, node: ast.expr, length: int = 60) -> str:
        part = ast.get_source_segment(self._text, node) or self._text
        return part if len(part) <= length else f"{part[: length - 3]}..."


def _too_deep() -> ExpressionError:
    return ExpressionError(f"the expression is nested too deeply; allowed: {MAX_DEPTH} levels")
