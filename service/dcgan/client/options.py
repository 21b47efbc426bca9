"""The keyword arguments of both clients' methods, written out once for type checkers and people."""

from typing import TypedDict

from dcgan.client.results import Format
from dcgan.client.uploads import Pictures
from dcgan.latents import Curve, Easing, Normalization


class Common(TypedDict, total=False):
    """What every request for images may say.

    Attributes:
        format: "raw" (default) for arrays; "png", "jpeg" or "webp" to have the server encode each image as a file.
        version: of the model; another one raises VersionNotServed. Empty (default) takes whatever serves.
    """

    format: Format
    version: str


class StreamOptions(Common, total=False):
    """Of `sample` and `stream_samples`; seed, first_index and truncation only with a number of images.

    Attributes:
        seed: 0 to 2^64 - 1. By default the server draws one, which the answer names.
        first_index: index of the first image under the seed. Default: 0.
        truncation: cuts every latent value to [-truncation, truncation], above 0 and at most 8. Default: none.
        include_latents: whether to return the latents too. Default: False.
    """

    seed: int | None
    first_index: int
    truncation: float | None
    include_latents: bool


class SampleOptions(StreamOptions, total=False):
    """Of `sample`: those of a stream, and what only one message can answer, of up to Limits.max_images images.

    Attributes:
        keep_best: return just this many, those with the highest scores, best first. Default: 0, all in their order.
        include_scores: whether to return scores; so they are with keep_best. Default: False.
    """

    keep_best: int
    include_scores: bool


class EncodeOptions(Common, total=False):
    """Of `encode`.

    Attributes:
        refine_steps: of gradient descent from what the encoder says, each about as dear as three images. Default: 0.
    """

    refine_steps: int


class ScoreOptions(TypedDict, total=False):
    """Of `score`; seed, first_index and truncation only with a number of images.

    Attributes:
        images: score these instead, given as for `encode`.
        seed, first_index, truncation: as of `sample`.
        version: of the model; another one raises VersionNotServed. Empty (default) takes whatever serves.
    """

    images: Pictures | None
    seed: int | None
    first_index: int
    truncation: float | None
    version: str


class PathOptions(Common, total=False):
    """Of `interpolate` and `stream_frames`.

    Attributes:
        frames: of the whole path; an open one begins and ends with its ends. Default: 16.
        curve: "linear" or "spherical". Default: spherical for a normal prior, linear for a uniform one.
        closed: goes on to the first point again and stops one frame before it, to be shown in a loop. Default: False.
        easing: "smooth" is slow at every point. Default: "linear".
        include_latents: whether to return the latents too. Default: False.
    """

    frames: int
    curve: Curve | None
    closed: bool
    easing: Easing
    include_latents: bool


class ArithmeticOptions(Common, total=False):
    """Of `arithmetic`.

    Attributes:
        neighbours: images around the result, with uniform noise of +-0.25 on its latent. Default: 8.
        neighbour_seed: of that noise. Default: 0.
        normalization: "prior" (default) keeps the sum a draw from the model's prior; "raw" leaves it as it is.
    """

    neighbours: int
    neighbour_seed: int
    normalization: Normalization
