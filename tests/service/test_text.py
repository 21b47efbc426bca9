import contextlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dcgan.errors import ExpressionError
from dcgan.latents import Expression, Floats32, Term, direction, evaluate, image, mean, mix, parse, seed, terms, values

DIRECTIONS = {
    name: np.full(8, value, np.float32) for name, value in (("sneaker", 1.0), ("ankle boot", -0.5), ("smile", 0.25))
}


def _latent(expression: Expression) -> Floats32:
    return evaluate([expression], 8, "normal", DIRECTIONS).reshape(8)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("7", seed(7)),
        (" seed( 7 ) ", seed(7)),
        ("seed(7, 3)", seed(7, 3)),
        ("seed(7, index=3, truncation=0.5)", seed(7, 3, truncation=0.5)),
        ("18446744073709551615", seed(2**64 - 1)),
        ("mean(1,2,3) - mean(4,5,6) + mean(7,8,9)", mean(*map(seed, (1, 2, 3)))
         - mean(*map(seed, (4, 5, 6))) + mean(*map(seed, (7, 8, 9)))),
        ("seed(7) + 1.5*direction(sneaker)", seed(7) + 1.5 * direction("sneaker")),
        ('direction("ankle boot") * 2 + 1', 2 * direction("ankle boot") + seed(1)),
        ("mix(3, 9, 0.25)", mix(seed(3), seed(9), 0.25)),
        ("mix(3, 9 - 1, 1/4, curve=linear)", mix(seed(3), seed(9) - seed(1), 0.25, curve="linear")),
        ("-3", -seed(3)),
        ("-(1 - 2)/2 + 2*(3 - -4)", 0.5 * seed(2) - 0.5 * seed(1) + 2 * seed(3) + 2 * seed(4)),
        ("1/3*seed(2) + 3/2", seed(2) / 3 + seed(3) / 2),
        ("values(0.5, -1, 2e-3, 0, 0, 0, 0, 1/4)", values([0.5, -1, 0.002, 0, 0, 0, 0, 0.25])),
        ("raw(1 + 2*seed(2))", (seed(1) + 2 * seed(2)).raw()),
        ("1*mix(3, 9, 0.5)", 1 * mix(seed(3), seed(9), 0.5)),
        ("2*(3*(1 - 2)) + (4 + 5)", 6 * (seed(1) - seed(2)) + seed(4) + seed(5)),
        ("mean(1, 2 + direction(smile))", mean(seed(1), seed(2) + direction("smile"))),
    ],
)  # fmt: skip
def test_text_means_what_the_operators_mean(text: str, meant: Expression) -> None:
    """Both give the same latent."""
    np.testing.assert_allclose(_latent(parse(text)), _latent(meant), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "part", "allowed"),
    [
        ("2*3", "'2*3'", "written as seed(3)"),
        ("1 + seed(1)*seed(2)", "'seed(1)*seed(2)'", "must be a number"),
        ("1.5", "'1.5'", "a weight stands before *"),
        ("seed(7) + sneaker", "'sneaker'", "direction(sneaker)"),
        ("median(1, 2)", "'median'", "allowed: seed, direction, mean, mix"),
        ("direction(ankle-boot)", "'ankle-boot'", 'direction("ankle boot")'),
        ("seed(7, 1.5)", "'1.5'", "whole number"),
        ("seed(7, colour=3)", "'seed(7, colour=3)'", "seed, index, truncation"),
        ("seed(7, 1, index=1)", "'seed(7, 1, index=1)'", "each once"),
        ("seed()", "'seed()'", "needed: seed"),
        ("values()", "'values()'", "numbers of one latent"),
        ("values(seed(1))", "'seed(1)'", "a number is needed"),
        ("image(3 + 4)", "'3 + 4'", "an image is a file's path"),
        ("image()", "'image()'", "needed: file"),
        ("image(a.png, refine_steps=-1)", "'-1'", "whole number"),
        ('image("data:image;base64,a")', "base64,a", "are written as data:image;base64,"),
        ("2*raw(1)", "'raw(1)'", "around a whole expression"),
        ("raw(1, 2)", "'raw(1, 2)'", "allowed are expression"),
        ("mean()", "'mean()'", "one or more"),
        ("mix(1, 2)", "'mix(1, 2)'", "needed: start, end, t"),
        ("mix(1, 2, 3)", "t is 3.0", "0 to 1"),
        ("mix(1, 2, 0.5, curve=wavy)", "'wavy'", "linear or spherical"),
        ("mix(1, 2, seed(3))", "'seed(3)'", "a number is needed"),
        ("seed(1)/0", "'seed(1)/0'", "zero"),
        ("1/seed(1)", "'1/seed(1)'", "must be a number"),
        ("2000000*seed(1)", "'seed(1)'", "-1,000,000 to 1,000,000"),
        ("seed(18446744073709551616)", "18446744073709551616", "2^64 - 1"),
        ("seed(-1)", "'-1'", "2^64 - 1"),
        ("True", "'True'", "allowed: seeds"),
        ("[1, 2]", "'[1, 2]'", "allowed: seeds"),
        ("mean(*x)", "'*x'", "allowed: seeds"),
        ("__import__('os').remove('x')", "__import__", "allowed: seed"),
        ("1 if 2 else 3", "'1 if 2 else 3'", "allowed: seeds"),
        ("", "empty", "allowed: seeds"),
        ("seed(7", "'(7'", "never closed"),
        ("1; 2", "'; 2'", "allowed: seeds"),
        ("1" * 5_000, "can't read", "4300 digits"),
        ("1 + " * 5_000 + "1", "20,001 characters", "10,000"),
        ("mean(" * 60 + "1" + ")" * 60, "nested too deeply", "50 levels"),
        ("-" * 9_000 + "1", "can't read", "nested too deeply"),
        ("1\0", "can't read", "null"),
        ("1" + "*1" * 2_000 + "*seed(1)", "nested too deeply", "50 levels"),
    ],
)
def test_a_refusal_names_the_part_at_fault_and_what_is_allowed(text: str, part: str, allowed: str) -> None:
    """In one line, since it is shown on a terminal."""
    with pytest.raises(ExpressionError) as refusal:
        parse(text)
    assert part in refusal.value.message
    assert allowed in refusal.value.message
    assert "\n" not in refusal.value.message


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("image(face.png)", "face.png"),
        ("image(1.png)", "1.png"),
        ("image( ~/a-b/../c_d.png )", "~/a-b/../c_d.png"),
        ('image("my  face (1), \\"new\\".png")', 'my  face (1), "new".png'),
        ("image('it is.png')", "it is.png"),
        ("image(True)", "True"),
        ('image("data:image;base64,AAEC")', b"\0\1\2"),
        ('image("data:image/png;base64,AAEC")', b"\0\1\2"),
    ],
)
def test_a_file_needs_quotes_only_where_its_name_would_end_early(text: str, content: str | bytes) -> None:
    """Names with dots, dashes and slashes need none, and spaces in quotes are kept."""
    assert parse(text) == image(content)
    assert parse(f"7 + {text}") == seed(7) + image(content)


def test_what_looks_like_an_image_in_quotes_is_left_alone() -> None:
    """It is a name as any other."""
    assert parse('direction("image(a.png)")') == direction("image(a.png)")


def test_terms_are_the_parts_of_the_sum_with_their_exemplars() -> None:
    """Weights reach through parentheses; only a mean has several exemplars."""
    assert terms("mean(1,2) - 2*(seed(3, 4) - mix(5, 6, 0.5)) + 7") == [
        Term((seed(1), seed(2)), 1.0, "mean(1,2)"),
        Term((seed(3, 4),), -2.0, "seed(3, 4)"),
        Term((mix(seed(5), seed(6), 0.5),), 2.0, "mix(5, 6, 0.5)"),
        Term((seed(7),), 1.0, "seed 7"),
    ]


def test_a_thousand_terms_are_read_at_once() -> None:
    """Long sums nest to the left in Python's grammar, and need no stack here."""
    assert len(terms("+".join("1" for _ in range(900)))) == 900
    assert len(parse("+".join("1" for _ in range(900))).nodes) == 901


@given(st.text(alphabet="0123456789.+-*/(), seedmanixrcto'\"=_[]\n\0{}:é", max_size=60))
@example("1or 2")
@example("'\\d'")
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    """No other exception, no warning, nothing run."""
    for read in (parse, terms):
        with contextlib.suppress(ExpressionError):
            assert read(text)


_LEAVES = st.one_of(
    st.integers(0, 2**64 - 1).map(str),
    st.tuples(st.integers(0, 99), st.integers(0, 99)).map("seed({0[0]}, {0[1]})".format),
    st.sampled_from(["direction(sneaker)", 'direction("ankle boot")']),
)


def _larger(smaller: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.tuples(smaller, smaller)
    return st.one_of(
        pair.map("{0[0]} + {0[1]}".format),
        pair.map("{0[0]} - ({0[1]})".format),
        pair.map("mean({0[0]}, {0[1]})".format),
        pair.map("mix({0[0]}, {0[1]}, 0.3)".format),
        smaller.map("-1.5*mean({})".format),
    )


@given(st.recursive(_LEAVES, _larger, max_leaves=8))
def test_the_terms_of_a_sum_add_up_to_it(text: str) -> None:
    """What `dcgan arithmetic` shows as the result is the expression that was typed."""
    parts = [term.weight * mean(*term.exemplars) for term in terms(text)]
    whole = parts[0]
    for part in parts[1:]:
        whole = whole + part
    if not np.allclose(_latent(parse(text).raw()), 0.0, atol=1e-3):  # of seeds that cancel only rounding is left
        np.testing.assert_allclose(_latent(whole.raw()), _latent(parse(text).raw()), atol=1e-3)
