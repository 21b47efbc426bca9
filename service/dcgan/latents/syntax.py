"""Texts of expressions as syntax trees, read with Python's own grammar, and the numbers and names in these.

Files need no quotes: `image(a-b.png)` gets them before Python sees it.
"""

import ast
import re
import warnings
from typing import Final

from dcgan.errors import ExpressionError

BARE_PATH: Final = re.compile(r"[\w.\-/~]+")  # what a file may be called without quotes
FORMS: Final = (
    "seeds (7, seed(7, 3)), direction(name), image(file), mean(a, b), mix(a, b, 0.25), joined by + and -, "
    "weights as in 2*a"
)
_STRING: Final = r""""(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'"""
_SPACE: Final = re.compile(rf"({_STRING})|\s+")
_IMAGE: Final = re.compile(rf"({_STRING})|(?<![\w.])(image\(\s*)({BARE_PATH.pattern})(?=\s*[,)])")


def single_spaced(text: str) -> str:
    """Makes one space of any white space outside of quotes, so that a text is one line."""
    return _SPACE.sub(lambda found: found[1] or " ", text).strip()


def with_files_quoted(text: str) -> str:
    """Puts files into quotes where they have none: 1.png and a-b.png are no words of Python's."""
    return _IMAGE.sub(lambda found: found[1] or f'{found[2]}"{found[3]}"', text)


def syntax_tree(text: str) -> ast.expr:
    """Reads a text; raises ExpressionError where Python's grammar doesn't take it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tokenizer's, such as on "1or 2": refused below with our words
            return ast.parse(text, mode="eval").body
    except SyntaxError as error:
        at = f" near {text[max(0, (error.offset or 1) - 1) :][:20]!r}" if error.lineno == 1 else ""
        raise ExpressionError(f"can't read the expression{at}: {error.msg}; allowed: {FORMS}") from error
    except ValueError as error:
        raise ExpressionError(f"can't read the expression: {error}") from error
    except (MemoryError, RecursionError) as error:
        raise ExpressionError("can't read the expression: it is too long or nested too deeply") from error


def number_of(node: ast.expr) -> float | None:
    """Evaluates a number, also with a sign, or as a product or quotient such as 1/3; None for anything else."""
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value) if abs(value) < 1e300 else None
        case ast.UnaryOp(ast.USub() | ast.UAdd() as sign, operand):
            size = number_of(operand)
            return size if size is None or isinstance(sign, ast.UAdd) else -size
        case ast.BinOp(left, ast.Mult() | ast.Div() as operation, right):
            first, second = number_of(left), number_of(right)
            if first is None or second is None:
                return None
            if isinstance(operation, ast.Mult):
                return first * second
            return first / second if second else None
    return None


def name_of(node: ast.expr) -> str:
    """Reads a name, bare or in quotes; empty for anything else."""
    match node:
        case ast.Name(name):
            return name
        case ast.Constant(str(name)):
            return name
    return ""
