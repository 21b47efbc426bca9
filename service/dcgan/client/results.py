"""What a server answers, as values: arrays and frozen dataclasses, no protocol buffers."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from dcgan import images as codecs
from dcgan.images import Pixels
from dcgan.latents import Floats32, Prior

if TYPE_CHECKING:
    from PIL import Image

Format: TypeAlias = codecs.Format | Literal["raw"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What drew an image; equal identities draw equal images from equal latents.

    Attributes:
        name, version: of the bundle.
        manifest_digest: sha256 of the bundle's manifest, which covers all its files.
        variant: form of the generator, "float32" or the name of a faster one.
        provider: ONNX Runtime's backend, for example "CPUExecutionProvider".
        onnxruntime_version: for example "1.27.0".
    """

    name: str
    version: str
    manifest_digest: str
    variant: str
    provider: str
    onnxruntime_version: str


@dataclass(frozen=True, eq=False)
class Samples:
    """Images in the order in which they were asked for.

    Attributes:
        identity: what drew them.
        shape: height, width and channels of each.
        pixels: uint8 (n, h, w, c) where the format is "raw", else None; `images` has them in any case.
        encoded: n files in the format that was asked for; empty for "raw".
        latents: float32 (n, latent_dim) where they were asked for, else None.
        seed: for images of a seed, given or drawn by the server, else None.
        first_index: index of the first under its seed; for a path the number of the first frame.
    """

    identity: Identity
    shape: tuple[int, int, int]
    pixels: Pixels | None
    encoded: tuple[bytes, ...] = ()
    latents: Floats32 | None = None
    seed: int | None = None
    first_index: int = 0

    def __len__(self) -> int:
        return len(self.encoded) if self.pixels is None else len(self.pixels)

    @cached_property
    def images(self) -> Pixels:
        """The images, uint8 (n, h, w, c), decoded at first use where they came encoded."""
        if self.pixels is not None:
            return self.pixels
        channels: Literal[1, 3] = 1 if self.shape[2] == 1 else 3
        decoded = [codecs.decode(data, channels) for data in self.encoded]
        return np.stack(decoded) if decoded else np.empty((0, *self.shape), np.uint8)

    def pillow(self) -> "list[Image.Image]":
        """The images as Pillow images, mode L or RGB."""
        return [codecs.to_pillow(image) for image in self.images]


@dataclass(frozen=True, slots=True, eq=False)
class Arithmetic:
    """A sum of pictures.

    Attributes:
        terms: an image for each term, the mean of its exemplars, in the order of the request.
        result: one image, the weighted sum of the terms.
        neighbours: the result with a little noise; may be empty.
    """

    terms: Samples
    result: Samples
    neighbours: Samples


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for; the client itself cuts larger ones into several where it can."""

    max_images: int
    max_nodes: int
    max_frames: int
    max_neighbours: int
    max_request_bytes: int


@dataclass(frozen=True, slots=True)
class DirectionInfo:
    """A named direction of the latent space, and the strengths at which images still look as they should."""

    name: str
    min_strength: float
    max_strength: float
    description: str


@dataclass(frozen=True, slots=True)
class Training:
    """How the model was trained; `dataset_digest` is a sha256 over its images."""

    recipe: str
    dataset: str
    dataset_digest: str
    seed: int
    images_seen: int


@dataclass(frozen=True, slots=True)
class Model:
    """The model that serves.

    Attributes:
        prior: distribution of latents, "normal" or "uniform".
        golden_exact: whether this server reproduced the bundle's golden images byte for byte.
        figures: quality figures by name.
        licence: SPDX identifier; attribution: credit that must go with the images, or empty.
    """

    identity: Identity
    latent_dim: int
    prior: Prior
    height: int
    width: int
    channels: int
    limits: Limits
    directions: tuple[DirectionInfo, ...]
    created: datetime.datetime
    training: Training
    figures: Mapping[str, float]
    licence: str
    attribution: str
    golden_exact: bool
