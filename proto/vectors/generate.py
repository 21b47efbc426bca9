"""Writes the conformance vectors that clients in other languages check their seeds against.

Run as `python proto/vectors/generate.py proto/vectors`. The file is a contract: it may grow, but what stands in it
never changes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from dcgan.latents import draw
from dcgan.latents.seeds import inverse_normal_cdf, philox

TOP = (1 << 64) - 1
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
    text = json.dumps(seeds(), indent=1)
    (Path(sys.argv[1]) / "seeds.json").write_text(text + "\n")
