"""The draws of `seeds`, compiled by Numba: the same bits, a hundred times faster.

A device thread draws between two runs of the device. In NumPy that is 150 short calls, 0.12 ms for one row, and many
of them hand Python's lock to the event loop and wait to have it back. Here it is one call, 1 microsecond a row, which
keeps the lock: handing it over takes longer.
`seeds` says what is computed and from which sources; the tests hold both to the same bits.
"""

from typing import Final, TypeAlias

import numba
import numpy as np
from numpy.typing import NDArray

from dcgan.latents.seeds import (
    CENTRE_DENOMINATOR,
    CENTRE_NUMERATOR,
    KEY_STEPS,
    LATENT_STREAM,
    MULTIPLIERS,
    TAIL_DENOMINATOR,
    TAIL_NUMERATOR,
    Floats32,
    Floats64,
    Prior,
    truncated_mass,
)

_Words: TypeAlias = tuple[np.uint64, np.uint64, np.uint64, np.uint64]

_LOW_32: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)
_M0, _M1 = MULTIPLIERS
_STEP0, _STEP1 = KEY_STEPS


def draw(
    seeds: NDArray[np.uint64],
    indices: NDArray[np.uint64],
    dim: int,
    prior: Prior,
    truncations: Floats64 | None = None,
) -> Floats32:
    """Draws the latents that (seed, index) name, bit for bit as `seeds.draw` does.

    Args:
        seeds, indices: uint64 of shape (n,).
        dim: values in a latent, at least 1.
        prior: "normal" or "uniform".
        truncations: float64 of shape (n,), inf where a row is not truncated; for the normal prior only.

    Returns:
        float32 of shape (n, dim), C order.
    """
    out = np.empty((len(seeds), dim), np.float32)
    mass = np.zeros(len(seeds)) if truncations is None else truncated_mass(truncations)
    _fill(seeds, indices, mass, prior == "normal", out)
    return out


# Signatures are given, so that the compiler is done when the module is imported, before the first request.


@numba.njit("float64(float64, UniTuple(float64, 8))")
def _polynomial(x: float, coefficients: tuple[float, ...]) -> float:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value


@numba.njit("float64(float64)")
def inverse_normal_cdf(probability: float) -> float:
    """Evaluates PPND16 for one probability."""
    q = probability - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _polynomial(r, CENTRE_NUMERATOR) / _polynomial(r, CENTRE_DENOMINATOR)
    r = np.sqrt(-np.log(1.0 - probability if q > 0.0 else probability)) - 1.6
    far = _polynomial(r, TAIL_NUMERATOR) / _polynomial(r, TAIL_DENOMINATOR)
    return far if q > 0.0 else -far


@numba.njit("UniTuple(uint64, 4)(UniTuple(uint64, 4), uint64, uint64)")
def _philox(counter: _Words, k0: np.uint64, k1: np.uint64) -> _Words:
    c0, c1, c2, c3 = counter
    for _ in range(10):
        product0 = c0 * _M0
        product1 = c2 * _M1
        c0 = (product1 >> _SHIFT) ^ c1 ^ k0
        c2 = (product0 >> _SHIFT) ^ c3 ^ k1
        c1 = product1 & _LOW_32
        c3 = product0 & _LOW_32
        k0 = (k0 + _STEP0) & _LOW_32
        k1 = (k1 + _STEP1) & _LOW_32
    return c0, c1, c2, c3


@numba.njit("void(uint64[::1], uint64[::1], float64[::1], boolean, float32[:, ::1])")
def _fill(seeds: NDArray[np.uint64], indices: NDArray[np.uint64], mass: Floats64, normal: bool, out: Floats32) -> None:
    count, dim = out.shape
    for row in range(count):
        seed, index, low = seeds[row], indices[row], mass[row]
        for block in range((dim + 3) // 4):
            counter = np.uint64(block), np.uint64(LATENT_STREAM), index & _LOW_32, index >> _SHIFT
            words = _philox(counter, seed & _LOW_32, seed >> _SHIFT)
            for j in range(min(4, dim - 4 * block)):
                uniform = (np.float64(words[j]) + 0.5) * 2.0**-32
                if normal:
                    out[row, 4 * block + j] = inverse_normal_cdf(uniform * (1.0 - 2.0 * low) + low)
                else:
                    out[row, 4 * block + j] = 2.0 * uniform - 1.0
