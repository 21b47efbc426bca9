"""Expressions as text, for the shell: `mean(1, 2, 3) - mean(4, 5, 6)`, `seed(7) + 1.5*direction(sneaker)`.

The text is read with Python's own grammar (`ast`), of which only what the table below names is accepted; nothing is
ever executed. A whole number on its own is a seed; next to `*` or after `/` a number is a factor, and so both sides
of `*` can't be numbers. Every refusal quotes the part that is wrong and says what is allowed.

    7, seed(7), seed(7, 3)              the latent of seed 7, at index 0 or 3
    seed(7, truncation=0.7)             the same, cut at 0.7
    direction(sneaker)                  a direction of the bundle; names that are no single word in quotes
    mean(a, b, ...)                     the mean of expressions
    mix(a, b, 0.25)                     a quarter of the way from a to b; also with curve=linear or spherical
    a + b, a - b, -a, 2*a, a/2, (a)     sums and weights
"""

import ast
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from dcgan.errors import ExpressionError
from dcgan.latents import algebra
from dcgan.latents.algebra import Expression
from dcgan.latents.paths import Curve

MAX_LENGTH: Final = 10_000  # characters
MAX_DEPTH: Final = 50  # calls, signs and parentheses inside each other
MAX_WEIGHT: Final = 1e6  # as on the wire
_FORMS: Final = (
    "seeds (7, seed(7, 3)), direction(name), mean(a, b), mix(a, b, 0.25), joined by + and -, weights as in 2*a"
)
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
    return _Reader(text).expression()


def terms(text: str) -> list[Term]:
    """Reads a sum and splits it into its terms, for arithmetic.

    A term `mean(...)` has the arguments as its exemplars, any other term is its own only exemplar; labels are the
    terms' text. Raises ExpressionError as `parse` does.
    """
    return _Reader(text).terms()


class _Reader:
    """Walks the syntax tree of one text; keeps the text to quote from."""

    def __init__(self, text: str) -> None:
        self._text = " ".join(text.split())
        if len(self._text) > MAX_LENGTH:
            raise ExpressionError(f"the expression has {len(self._text):,} characters; allowed: {MAX_LENGTH:,}")
        if not self._text:
            raise ExpressionError(f"the expression is empty; allowed: {_FORMS}")
        self._root = _syntax_tree(self._text)

    def expression(self) -> Expression:
        return self._sum(self._root, 0)

    def terms(self) -> list[Term]:
        return [self._term(node, weight) for weight, node in self._weighted(self._root, 1.0, 0)]

    def _term(self, node: ast.expr, weight: float) -> Term:
        if isinstance(node, ast.Call) and _name(node.func) == "mean":
            exemplars = self._means(node, 1)
        else:
            exemplars = [self._operand(node, 1)]
        label = f"seed {self._quoted(node)}" if isinstance(node, ast.Constant) else self._quoted(node, 200)
        return Term(tuple(exemplars), weight, label)

    def _sum(self, node: ast.expr, depth: int) -> Expression:
        weighted = [(weight, self._operand(part, depth + 1)) for weight, part in self._weighted(node, 1.0, depth)]
        parts = [operand if weight == 1.0 else weight * operand for weight, operand in weighted]
        return parts[0] if len(parts) == 1 else algebra.total(*parts)

    def _weighted(self, node: ast.expr, weight: float, depth: int) -> Iterator[tuple[float, ast.expr]]:
        """Splits a sum into weights and operands; long sums nest to the left, which is walked without recursion."""
        right: list[tuple[float, ast.expr]] = []
        while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub):
            right.append((weight if isinstance(node.op, ast.Add) else -weight, node.right))
            node = node.left
        for factor, part in [(weight, node), *reversed(right)]:
            yield from self._scaled(part, factor, depth + 1)

    def _scaled(self, node: ast.expr, weight: float, depth: int) -> Iterator[tuple[float, ast.expr]]:
        """Takes factors and signs off a term."""
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested too deeply; allowed: {MAX_DEPTH} levels")
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
            case _ if abs(weight) <= MAX_WEIGHT:
                yield weight, node
            case _:
                raise self._wrong(node, f"its weight is {weight:g}; allowed: -{MAX_WEIGHT:,.0f} to {MAX_WEIGHT:,.0f}")

    def _factor(self, node: ast.BinOp) -> tuple[float, ast.expr]:
        left, right = _number(node.left), _number(node.right)
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
        if depth > MAX_DEPTH:
            raise ExpressionError(f"the expression is nested too deeply; allowed: {MAX_DEPTH} levels")
        match node:
            case ast.Constant(int(value)) if not isinstance(value, bool):
                return algebra.seed(value)
            case ast.Constant(float()):
                raise self._wrong(node, "a number on its own is a seed, which is whole; a weight stands before *")
            case ast.Call(ast.Name(name)) if name in self._functions:
                return self._functions[name](self, node, depth + 1)
            case ast.Name(name):
                raise self._wrong(node, f"there is no such name; is direction({name}) meant?")
            case ast.Call():
                raise self._wrong(node.func, "there is no such function; allowed: seed, direction, mean, mix")
            case _:
                raise self._wrong(node, f"this is no latent; allowed: {_FORMS}")

    def _seed(self, call: ast.Call, _depth: int) -> Expression:
        given = self._arguments(call, ("seed", "index", "truncation"), required=1)
        truncation = given.get("truncation")
        return algebra.seed(
            self._whole(given["seed"]),
            self._whole(given["index"]) if "index" in given else 0,
            truncation=None if truncation is None else self._real(truncation),
        )

    def _direction(self, call: ast.Call, _depth: int) -> Expression:
        node = self._arguments(call, ("name",), required=1)["name"]
        name = _name(node)
        if not name:
            raise self._wrong(node, 'a direction is a name; quote one that is no single word: direction("ankle boot")')
        return algebra.direction(name)

    def _mean(self, call: ast.Call, depth: int) -> Expression:
        return algebra.mean(*self._means(call, depth))

    def _means(self, call: ast.Call, depth: int) -> list[Expression]:
        if call.keywords or not call.args:
            raise self._wrong(call, "mean takes one or more expressions")
        return [self._sum(argument, depth) for argument in call.args]

    def _mix(self, call: ast.Call, depth: int) -> Expression:
        given = self._arguments(call, ("start", "end", "t", "curve"), required=3)
        curve = None
        if "curve" in given:
            curve = _CURVES.get(_name(given["curve"]))
            if curve is None:
                raise self._wrong(given["curve"], "a curve is linear or spherical")
        start, end = self._sum(given["start"], depth), self._sum(given["end"], depth)
        return algebra.mix(start, end, self._real(given["t"]), curve=curve)

    _functions: Final[Mapping[str, Callable[["_Reader", ast.Call, int], Expression]]] = {
        "seed": _seed,
        "direction": _direction,
        "mean": _mean,
        "mix": _mix,
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
        value = _number(node)
        if value is None:
            raise self._wrong(node, "a number is needed")
        return value

    def _wrong(self, node: ast.expr, why: str) -> ExpressionError:
        return ExpressionError(f"in the expression, {self._quoted(node)!r}: {why}")

    def _quoted(self, node: ast.expr, length: int = 60) -> str:
        part = ast.get_source_segment(self._text, node) or self._text
        return part if len(part) <= length else f"{part[: length - 3]}..."


def _syntax_tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tokenizer's, such as on "1or 2": refused below with our words
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        at = f" near {text[max(0, (error.offset or 1) - 1) :][:20]!r}" if error.lineno == 1 else ""
        raise ExpressionError(f"can't read the expression{at}: {error.msg}; allowed: {_FORMS}") from error
    except ValueError as error:
        raise ExpressionError(f"can't read the expression: {error}") from error
    except (MemoryError, RecursionError) as error:
        raise ExpressionError("can't read the expression: it is too long or nested too deeply") from error


def _number(node: ast.expr) -> float | None:
    """Evaluates a number, also with a sign, or as a product or quotient such as 1/3; None for anything else."""
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value) if abs(value) < 1e300 else None
        case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, operand):
            size = _number(operand)
            return size if size is None or isinstance(sign, ast.UAdd) else -size
        case ast.BinOp(left, ast.Mult() | ast.Div() as operation, right):
            first, second = _number(left), _number(right)
            if first is None or second is None:
                return None
            if isinstance(operation, ast.Mult):
                return first * second
            return first / second if second else None
    return None


def _name(node: ast.expr) -> str:
    """Reads a name, bare or in quotes; empty for anything else."""
    match node:
        case ast.Name(name):
            return name
        case ast.Constant(str(name)):
            return name
    return ""
