"""Latents from names: (seed, index) gives the same float32 values everywhere, for ever.

Value j of a latent is word j mod 4 of the counter-based generator Philox4x32-10 at counter
(j div 4, stream, low32(index), high32(index)) under key (low32(seed), high32(seed)).
A word w is the uniform (w + 0.5) / 2^32; a normal prior takes its inverse normal CDF.
Nothing is kept between calls, so a row depends neither on its batch nor on its neighbours.

Sources: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011 (Philox);
Wichura, "Algorithm AS 241", Applied Statistics 37, 1988 (PPND16, the inverse normal CDF).
The contract is section 4 of the architecture; test vectors for other languages lie in proto/vectors/.
"""

import math
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats32: TypeAlias = NDArray[np.float32]
Floats64: TypeAlias = NDArray[np.float64]
Words: TypeAlias = NDArray[np.uint64]
Prior: TypeAlias = Literal["normal", "uniform"]

LATENT_STREAM: Final = 0
NEIGHBOUR_STREAM: Final = 1
TRAINING_STREAM: Final = 2
NEIGHBOUR_RADIUS: Final = 0.25

_BLOCK_VALUES: Final = 1 << 15  # values made at a time: the float64 temporaries stay in the L2 cache
_LOW_32: Final = np.uint64(0xFFFFFFFF)
_SHIFT: Final = np.uint64(32)
MULTIPLIERS: Final = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
KEY_STEPS: Final = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


def draw(
    seeds: ArrayLike,
    indices: ArrayLike,
    dim: int,
    prior: Prior,
    *,
    truncations: ArrayLike | None = None,
    stream: int = LATENT_STREAM,
) -> Floats32:
    """Draws the latents that (seed, index) name.

    Args:
        seeds: uint64, one or of shape (n,).
        indices: uint64 of shape (n,).
        dim: values in a latent, at least 1.
        prior: "normal" for N(0, 1), "uniform" for [-1, 1].
        truncations: float64, one or of shape (n,): |value| <= truncation, by an exact truncated normal;
            inf where a row is not truncated. For the normal prior only.
        stream: which family of draws; latents, neighbours' noise and training never share one.

    Returns:
        float32 of shape (n, dim), C order.
    """
    index = np.atleast_1d(np.asarray(indices, np.uint64))
    seed = np.broadcast_to(np.asarray(seeds, np.uint64), index.shape)
    low = None
    if truncations is not None:
        low = truncated_mass(np.broadcast_to(np.asarray(truncations, np.float64), index.shape))
    out = np.empty((len(index), dim), np.float32)
    rows = max(1, _BLOCK_VALUES // dim)
    for start in range(0, len(index), rows):
        part = slice(start, start + rows)
        uniform = _uniforms(seed[part], index[part], dim, stream)
        if prior == "uniform":
            out[part] = 2.0 * uniform - 1.0
            continue
        if low is not None:
            uniform *= 1.0 - 2.0 * low[part, None]
            uniform += low[part, None]
        out[part] = inverse_normal_cdf(uniform)
    return out


def neighbour_noise(seed: int, indices: ArrayLike, dim: int) -> Floats32:
    """Draws the uniform noise in [-0.25, 0.25] that makes neighbours of an arithmetic result.

    Returns float32 of shape (n, dim). Source: Radford et al. 2016, arXiv:1511.06434, section 6.3.2.
    """
    return draw(seed, indices, dim, "uniform", stream=NEIGHBOUR_STREAM) * np.float32(NEIGHBOUR_RADIUS)


def philox(counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]) -> tuple[Words, Words, Words, Words]:
    """Runs Philox4x32-10: four counter words and two key words (each uint64 below 2^32) to four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        product0 = c0 * MULTIPLIERS[0]
        product1 = c2 * MULTIPLIERS[1]
        c0 = (product1 >> _SHIFT) ^ c1 ^ k0
        c2 = (product0 >> _SHIFT) ^ c3 ^ k1
        product1 &= _LOW_32
        product0 &= _LOW_32
        c1, c3 = product1, product0
        k0 = (k0 + KEY_STEPS[0]) & _LOW_32
        k1 = (k1 + KEY_STEPS[1]) & _LOW_32
    return c0, c1, c2, c3


def inverse_normal_cdf(probability: Floats64) -> Floats64:
    """Evaluates PPND16 for probabilities in [2^-33, 1 - 2^-33], accurate to about 1 part in 10^16.

    The algorithm's third branch, for probabilities under 1.4e-11, can't be reached from 32-bit words
    and is left out.
    """
    q = probability - 0.5
    r = 0.180625 - q * q
    value = _polynomial(r, CENTRE_NUMERATOR)
    value *= q
    value /= _polynomial(r, CENTRE_DENOMINATOR)
    tail = np.nonzero(np.abs(q) > 0.425)
    if len(tail[0]):
        p = probability[tail]
        upper = q[tail] > 0.0
        r = np.sqrt(-np.log(np.where(upper, 1.0 - p, p))) - 1.6
        far = _polynomial(r, TAIL_NUMERATOR) / _polynomial(r, TAIL_DENOMINATOR)
        value[tail] = np.where(upper, far, -far)
    return value


def _uniforms(seed: Words, index: Words, dim: int, stream: int) -> Floats64:
    """Draws float64 uniforms in (0, 1) of shape (n, dim); a block of four shares one counter."""
    blocks = -(-dim // 4)
    shape = len(index), blocks
    counter = (
        np.broadcast_to(np.arange(blocks, dtype=np.uint64), shape),
        np.full(shape, stream, np.uint64),
        np.broadcast_to((index & _LOW_32)[:, None], shape),
        np.broadcast_to((index >> _SHIFT)[:, None], shape),
    )
    words = philox(counter, ((seed & _LOW_32)[:, None], (seed >> _SHIFT)[:, None]))
    uniform = np.stack(words, axis=-1).reshape(len(index), 4 * blocks)[:, :dim].astype(np.float64)
    uniform += 0.5
    uniform *= 2.0**-32
    return uniform


def truncated_mass(truncations: Floats64) -> Floats64:
    """Gives the probability that each truncation cuts off on either side, both float64 (n,)."""
    values, where = np.unique(truncations, return_inverse=True)
    mass: Floats64 = np.array([0.5 * math.erfc(t / math.sqrt(2.0)) for t in values.tolist()])[where]
    return mass


def _polynomial(x: Floats64, coefficients: tuple[float, ...]) -> Floats64:
    """Evaluates a polynomial by Horner's rule, coefficients from the highest power down."""
    value = x * coefficients[0]
    for coefficient in coefficients[1:-1]:
        value += coefficient
        value *= x
    value += coefficients[-1]
    return value


CENTRE_NUMERATOR: Final = (
    2.5090809287301226727e3,
    3.3430575583588128105e4,
    6.7265770927008700853e4,
    4.5921953931549871457e4,
    1.3731693765509461125e4,
    1.9715909503065514427e3,
    1.3314166789178437745e2,
    3.3871328727963666080e0,
)
CENTRE_DENOMINATOR: Final = (
    5.2264952788528545610e3,
    2.8729085735721942674e4,
    3.9307895800092710610e4,
    2.1213794301586595867e4,
    5.3941960214247511077e3,
    6.8718700749205790830e2,
    4.2313330701600911252e1,
    1.0,
)
TAIL_NUMERATOR: Final = (
    7.74545014278341407640e-4,
    2.27238449892691845833e-2,
    2.41780725177450611770e-1,
    1.27045825245236838258e0,
    3.64784832476320460504e0,
    5.76949722146069140550e0,
    4.63033784615654529590e0,
    1.42343711074968357734e0,
)
TAIL_DENOMINATOR: Final = (
    1.05075007164441684324e-9,
    5.47593808499534494600e-4,
    1.51986665636164571966e-2,
    1.48103976427480074590e-1,
    6.89767334985100004550e-1,
    1.67638483018380384940e0,
    2.05319162663775882187e0,
    1.0,
)
