"""Writes the conformance vectors that clients in other languages check their latents against.

Run as `python proto/vectors/generate.py proto/vectors`. The files are a contract, which README.md beside them states:
they may grow, but what stands in them never changes.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import json_format

from dcgan.client.sources import expression_message
from dcgan.latents import Expression, draw, evaluate, mean, mix, seed, values
from dcgan.latents import Path as Frames
from dcgan.latents import direction as named
from dcgan.latents.seeds import inverse_normal_cdf, philox

TOP = (1 << 64) - 1
DIM = 5  # of expressions and paths: a block of four values and one of the next
DIRECTIONS = {"smile": draw(99, [0], DIM, "normal")[0], "hat": draw(99, [1], DIM, "normal")[0]}
MIXED_AT = (0.0, 0.25, 1.0)
# a logarithm that is off by one unit in the last place changes the float32 of just these two of all 2^32 words
DELICATE_WORDS = [0x08EDBE91, 0xF7126E6E]
WORDS = [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x13333333, 0xECCCCCCC, *DELICATE_WORDS]
NAMES = [(0, 0), (0, 1), (7, 0), (7, 41), (2**32 - 1, 2**32), (2**32, 2**32 - 1), (TOP, TOP)]


def seeds() -> dict[str, Any]:
    """Computes the vectors of section 4 of the architecture: words, uniforms' normals, latents of both priors."""
    return {
        "philox4x32_10": [_philox(seed, index) for seed, index in NAMES],
        "normal_of_word": [{"word": word, "float32": _normal(word)} for word in WORDS],
        "latents": [
            {
                "seed": str(seed),
                "index": str(index),
                "prior": prior,
                "dim": 9,
                "truncation": truncation,
                "float32": [float(value) for value in draw(seed, [index], 9, prior, truncations=truncation)[0]],
            }
            for seed, index in NAMES
            for prior, truncation in (("normal", None), ("uniform", None), ("normal", 0.5))
        ],
    }


def expressions() -> dict[str, Any]:
    """Computes the vectors of section 5: what expressions stand for, in the JSON form of dcgan.v1.Expression."""
    cases = [*_for_both_priors(), *_for_a_normal_prior(), *_for_a_uniform_prior()]
    return {
        "dim": DIM,
        "directions": {name: _floats(vector) for name, vector in DIRECTIONS.items()},
        "cases": [
            {
                "name": name,
                "prior": prior,
                "expression": json_format.MessageToDict(expression_message(expression)),
                "float32": _floats(evaluate([expression], DIM, prior, DIRECTIONS)[0]),  # type: ignore[arg-type]
            }
            for name, prior, expression in cases
        ],
    }


Case = tuple[str, str, Expression]


def _for_both_priors() -> Iterator[Case]:
    one, other = seed(1), seed(2, 3)
    given = values([0.5, -0.25, 1.5, -2.0, 0.125])
    for prior in ("normal", "uniform"):
        yield "a seed", prior, one
        yield "a seed and an index that need 64 bits", prior, seed(TOP, 1 << 32)
        yield "values", prior, given
        yield "values, raw", prior, given.raw()
        yield "a direction", prior, named("smile")
        yield "a sum", prior, one + other
        yield "a sum, raw", prior, (one + other).raw()
        yield "a mean", prior, mean(one, other, seed(7))
        yield "a mean, raw", prior, mean(one, other, seed(7)).raw()
        yield "a seed twice in a sum", prior, one + one
        yield "a seed twice beside another", prior, one + one + other
        yield "a seed less itself", prior, one - one
        yield "a weighted seed alone", prior, 3 * one
        yield "a negative weight alone", prior, -one
        yield "the arithmetic of the paper", prior, mean(one, other, seed(3)) - mean(seed(4), seed(5)) + seed(6)
        yield "a seed and a direction", prior, one + 1.5 * named("smile") - 0.5 * named("hat")
        yield "a sum of seeds and values", prior, one - other + given / 4
        for t in MIXED_AT:
            yield f"a mix at {t:g}", prior, mix(one, other, t)
            yield f"a linear mix at {t:g}", prior, mix(one, other, t, curve="linear")
            yield f"a spherical mix at {t:g}", prior, mix(one, other, t, curve="spherical")
        yield "a mix of equal ends", prior, mix(one, one, 0.25, curve="spherical")
        yield "a mix of opposite ends", prior, mix(one, -one, 0.25, curve="spherical")
        yield "a mix from zero", prior, mix(one - one, other, 0.25, curve="spherical")
        yield "a mix of sums", prior, mix(one + other, other - seed(7), 0.75)
        yield "a sum with a mix", prior, mix(one, other, 0.25) + seed(7)


def _for_a_normal_prior() -> Iterator[Case]:
    cut = seed(1, truncation=0.5)
    yield "a truncated seed", "normal", cut
    yield "a seed beside itself truncated", "normal", seed(1) + cut
    yield "a mix of truncated seeds", "normal", mix(cut, seed(2, truncation=2.0), 0.25)


def _for_a_uniform_prior() -> Iterator[Case]:
    yield "a sum that is clipped", "uniform", 4 * seed(1)
    yield "a sum that is not clipped, raw", "uniform", (4 * seed(1)).raw()


def paths() -> dict[str, Any]:
    """Computes the vectors of paths: the frames between latents that are given by their values."""
    points = draw(5, [0, 1, 2], DIM, "normal")
    opposite = np.stack([points[0], -2 * points[0]])
    equal = np.stack([points[0], points[0], points[1]])
    cases = [
        _path(given, frame_count, curve, closed, easing)
        for given, frame_count in (
            (points[:2], 5),
            (points, 7),
            (points, 4),
            (points[:2], 1),
            (opposite, 5),
            (equal, 5),
        )
        for curve in ("linear", "spherical")
        for closed in (False, True)
        for easing in ("linear", "smooth")
    ]
    return {"dim": DIM, "cases": cases}


def _path(points: Any, frame_count: int, curve: Any, closed: bool, easing: Any) -> dict[str, Any]:
    frames = Frames(points, frame_count, curve, closed=closed, easing=easing).frames(0, frame_count)
    return {
        "points": [_floats(point) for point in points],
        "frameCount": frame_count,
        "curve": f"CURVE_{curve.upper()}",
        "closed": closed,
        "easing": f"EASING_{easing.upper()}",
        "float32": [_floats(frame) for frame in frames],
    }


FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "seeds.json": seeds,
    "expressions.json": expressions,
    "paths.json": paths,
}


def _floats(vector: Any) -> list[float]:
    return [float(value) for value in vector]


def _philox(seed: int, index: int) -> dict[str, Any]:
    key = [seed & 0xFFFFFFFF, seed >> 32]
    counter = [0, 0, index & 0xFFFFFFFF, index >> 32]
    words = philox(
        tuple(np.array([word], np.uint64) for word in counter),  # type: ignore[arg-type]
        tuple(np.array([word], np.uint64) for word in key),  # type: ignore[arg-type]
    )
    return {"key": key, "counter": counter, "words": [int(word[0]) for word in words]}


def _normal(word: int) -> float:
    return float(np.float32(inverse_normal_cdf(np.array([(word + 0.5) / 2**32]))[0]))


if __name__ == "__main__":
    for name, made in FILES.items():
        (Path(sys.argv[1]) / name).write_text(json.dumps(made(), indent=1) + "\n")
