"""What a server answers, as values: arrays and frozen dataclasses, no protocol buffers."""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dcgan import images as codecs
from dcgan.images import Pixels
from dcgan.latents import Floats32, Floats64, Prior

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


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What a discriminator says of n images; see `Model.calibration` for how far it can be trusted.

    Attributes:
        identity: what scored them.
        logits: float64 (n,), the discriminator's own output; higher is more like the real images.
        probabilities: float64 (n,), 0 to 1, of being real where real and generated ones are equally frequent.
        percentiles: float64 (n,), 0 to 100, of held-out real images with a lower logit.
        seed: for images of a seed, given or drawn by the server, else None.
    """

    identity: Identity
    logits: Floats64
    probabilities: Floats64
    percentiles: Floats64
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.logits)


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
        scores: what the discriminator says of them where it was asked, else None.
        indices: uint64 (n,) with keep_best, where each stood among those drawn; else None. See `numbers`.
    """

    identity: Identity
    shape: tuple[int, int, int]
    pixels: Pixels | None
    encoded: tuple[bytes, ...] = ()
    latents: Floats32 | None = None
    seed: int | None = None
    first_index: int = 0
    scores: Scores | None = None
    indices: NDArray[np.uint64] | None = None

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

    @property
    def numbers(self) -> list[int]:
        """The index of each image under its seed, or its position in the list that was asked for."""
        if self.indices is not None:
            return [int(index) for index in self.indices]
        return list(range(self.first_index, self.first_index + len(self)))

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


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Latents that images come from.

    Attributes:
        identity: what encoded them.
        latents: float32 (n, latent_dim), in the order of the images.
        reconstructions: what the generator draws from these.
        errors: float64 (n,), mean squared errors of the reconstructions, pixels in [-1, 1]: 0 to 4.
    """

    identity: Identity
    latents: Floats32
    reconstructions: Samples
    errors: Floats64


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for; the client itself cuts larger ones into several where it can."""

    max_images: int
    max_nodes: int
    max_frames: int
    max_neighbours: int
    max_request_bytes: int
    max_uploads: int
    max_upload_pixels: int
    max_refine_steps: int


@dataclass(frozen=True, slots=True)
class DirectionInfo:
    """A named direction of the latent space, and the strengths at which images still look as they should.

    Attributes:
        turned: share of samples in which a second classifier sees it at max_strength, 0 to 1; 0 if not measured.
        turned_by_chance: the same for a random direction of the same length.
    """

    name: str
    min_strength: float
    max_strength: float
    description: str
    turned: float
    turned_by_chance: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How well the discriminator tells held-out real images from generated ones.

    Attributes:
        auc: the chance that a real image scores above a generated one; 0.5 is guessing, 1 is perfect.
        real_count, generated_count: images that it was measured on.
    """

    auc: float
    real_count: int
    generated_count: int


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """How well latents are found.

    Attributes:
        refines: whether `refine_steps` may be set.
        figures: mean squared errors in [-1, 1] by name.
    """

    refines: bool
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Training:
    """How the model was trained; `dataset_digest` is a sha256 over its images."""

    recipe: str
    dataset: str
    dataset_digest: str
    seed: int
    images_seen: int


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """A version of the model that the server found and can't serve, and why."""

    version: str
    reason: str
    refused: datetime.datetime


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """A faster form of the generator, and how far its images are off from the exact one's, in grey levels of 255."""

    name: str
    mean_levels: float
    max_levels: int


@dataclass(frozen=True, slots=True)
class Model:
    """The model that serves.

    Attributes:
        prior: distribution of latents, "normal" or "uniform".
        golden_exact: whether this server reproduced the bundle's golden images byte for byte.
        figures: quality figures by name.
        calibration: None where the model has no discriminator; encoder: None where it has none.
        licence: SPDX identifier; attribution: credit that must go with the images, or empty.
        refused_versions: that lie ready and can't take over.
        variants: faster forms of the generator that the bundle has; `identity.variant` says which form draws.
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
    calibration: Calibration | None = None
    encoder: EncoderInfo | None = None
    refused_versions: tuple[RefusedVersion, ...] = ()
    variants: tuple[VariantInfo, ...] = ()
