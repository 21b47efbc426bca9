"""What manifest.json of a model bundle says, checked once where it enters the program.

Unknown keys are ignored, so that an older server takes a bundle whose maker wrote down more.
"""

import datetime
from typing import Annotated, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

FORMAT: Final = 1
FILE_NAME: Final = "manifest.json"

_EARLIEST: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LATEST: Final = datetime.datetime.max.replace(tzinfo=datetime.UTC)  # in UTC, a protobuf Timestamp holds no more

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class LatentSpec(_Part):
    """What the generator takes: `dim` values, drawn from `prior`."""

    dim: int = Field(ge=1, le=4096)
    prior: Literal["normal", "uniform"]


class ImageSpec(_Part):
    """What the generator gives, in pixels; one channel is grey, three are RGB."""

    height: int = Field(ge=1, le=1024)
    width: int = Field(ge=1, le=1024)
    channels: Literal[1, 3]
    fit: Literal["centre-crop"] = "centre-crop"  # how an image of another shape is brought to this one

    @property
    def size_bytes(self) -> int:
        """Bytes of one raw image."""
        return self.height * self.width * self.channels


class FileSpec(_Part):
    """One file of the bundle."""

    sha256: Digest
    size_bytes: int = Field(ge=0)


class Tolerance(_Part):
    """How far the golden images may be off on another device, in grey levels of 255."""

    max_levels: int = Field(ge=0, le=255)
    mean_levels: float = Field(ge=0, le=255)


class Parity(_Part):
    """How far torch and onnxruntime were apart at one batch size when the bundle was made."""

    batch_size: int = Field(ge=1)
    max_levels: int = Field(ge=0, le=255)
    mean_levels: float = Field(ge=0, le=255)


class VariantSpec(_Part):
    """How far a faster form of the generator is off from generator.onnx on a CPU, in grey levels of 255."""

    max_levels: int = Field(ge=0, le=255)
    mean_levels: float = Field(ge=0, le=255)
    sample_count: int = Field(ge=1)  # images that were compared, the golden ones among them


class DirectionSpec(_Part):
    """A named direction: the strengths between which images look as they should, and how it was found."""

    min_strength: float
    max_strength: float
    description: str = ""
    accuracy: float | None = None  # share of held-out labelled images that the classifier which found it labels rightly
    sample_count: int = Field(0, ge=0)  # generated images that the classifier labelled
    positive_count: int = Field(0, ge=0)  # of these, with the attribute
    turned: float = Field(0.0, ge=0, le=1)  # share of samples at max_strength that a second classifier sees it in
    turned_by_chance: float = Field(0.0, ge=0, le=1)  # the same for a random direction of the same length


class CalibrationSpec(_Part):
    """What a logit of the discriminator means, measured on images that the training never saw.

    The probability of being real is sigmoid(slope * logit + offset). `real_quantiles` are the logits of held-out real
    images at 0, 1, ... 100 percent, from the lowest on.
    """

    slope: float = Field(gt=0)
    offset: float
    real_quantiles: list[float] = Field(min_length=101, max_length=101)
    auc: float = Field(ge=0, le=1)
    real_count: int = Field(ge=1)
    generated_count: int = Field(ge=1)

    @field_validator("real_quantiles")
    @classmethod
    def _in_order(cls, quantiles: list[float]) -> list[float]:
        if quantiles != sorted(quantiles):
            raise ValueError("quantiles rise from the first to the last")
        return quantiles


class EncoderSpec(_Part):
    """How the encoder was trained, and its mean squared errors in [-1, 1] by name."""

    images_seen: int = Field(ge=0)
    figures: dict[str, float] = {}


class HeldOutSpec(_Part):
    """The images that the training never saw, with which a model is calibrated and measured.

    They are a part of the data set, chosen by a hash of their pixels, or a test set that was given.
    """

    source: Literal["content-hash", "test-set"]
    image_count: int = Field(ge=1)
    digest: Digest  # of shape and pixels, as dataset_digest


class TrainingSpec(_Part):
    """How the model was trained."""

    recipe: str
    dataset: str
    dataset_digest: Digest  # of all images in the data set
    data_count: int = Field(0, ge=0)  # of these, trained on; 0 where it wasn't written down
    held_out: HeldOutSpec | None = None  # None where none were held out
    seed: int = Field(ge=0, lt=1 << 64)
    steps: int = Field(ge=0)
    images_seen: int = Field(ge=0)
    packages: dict[str, str] = {}


class Manifest(_Part):
    """The whole manifest of a bundle of format 1."""

    format: Literal[1] = FORMAT
    name: Name
    version: Name
    created: AwareDatetime = Field(ge=_EARLIEST, le=_LATEST)
    latent: LatentSpec
    image: ImageSpec
    files: dict[Name, FileSpec]
    opset: int = Field(ge=13)
    golden: Tolerance
    parity: list[Parity] = []
    variants: dict[Name, VariantSpec] = {}  # by name; generator.onnx itself is none of them
    directions: dict[Name, DirectionSpec] = {}
    calibration: CalibrationSpec | None = None
    encoder: EncoderSpec | None = None
    training: TrainingSpec
    figures: dict[str, float] = {}
    licence: str
    attribution: str = ""
