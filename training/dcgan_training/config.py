"""The frozen settings of a run: what the recipe says, what the data is, what the user chose.

Owns `config.json` in the run directory. Settings decide the weights that come out; where the run is computed
(device, threads, number format, build) is `dcgan_training.machine`'s. `choices` refuses settings that don't go
together.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, Self

from dcgan.latents import Prior
from dcgan_training import values
from dcgan_training.errors import RunError
from dcgan_training.files import write_atomically

Architecture = Literal["mlp", "keras", "dcgan", "residual"]
Objective = Literal["minimax", "non-saturating", "hinge", "relativistic"]
Augment = Literal["none", "translation", "all"]

NORMED: Final = ("dcgan", "keras")  # architectures whose generators have batch norm
CLASSIC: Final = ("minimax", "non-saturating")  # objectives with labels, whose equilibrium is an output of 0.5

# Settings that may differ when a run is continued: none changes a weight that was already made. Of the first two that
# holds until a cooldown begins.
_FREE: Final = frozenset({"images", "cooldown_images", "data", "held_out"})
_DIGESTS: Final = {"labels": "--labels of sha256", "initial": "--init-from a manifest of sha256"}
_REMEDY: Final = "choose another --output, or give the run's own settings to continue it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """How a GAN is trained: what a recipe fixes and `--set` may change, one setting at a time.

    The defaults are the DCGAN's (arXiv:1511.06434), so that a recipe says only where it departs from it.
    """

    architecture: Architecture = "dcgan"
    width: int = 64  # channels of the generator's largest hidden feature map; of an mlp, its hidden values
    discriminator_width: int = 0  # the same of the discriminator; 0 takes the generator's
    full_size_map: bool = False  # the generator has one more hidden feature map, of its images' size and half its width
    latent_dim: int = 100  # values in a latent, z in the papers
    prior: Prior = "normal"
    batch_size: int = 128  # real images in a discriminator step
    learning_rate: float = 2e-4  # Adam's, for both networks
    cooldown_images: int = 0  # the last images of the run, over which the learning rate falls to 0
    beta1: float = 0.5  # Adam's decay of the first moment; 0.9 oscillates (arXiv:1511.06434, section 4)
    beta2: float = 0.999  # Adam's decay of the second moment
    objective: Objective = "non-saturating"
    discriminator_steps: int = 1  # for each step of the generator, k in arXiv:1406.2661
    label_smoothing: float = 0.0  # real images are to get 1 minus this, one-sided (arXiv:1606.03498, section 3.4)
    instance_noise: float = 0.0  # deviation of normal noise on what the discriminator sees; 1 is half of black to white
    spectral_norm: bool = False  # of the discriminator's layers (arXiv:1802.05957)
    penalty: float = 0.0  # gamma of R1 and R2, both halved as in arXiv:2501.05441
    minibatch_kernels: int = 0  # of minibatch discrimination, B in arXiv:1606.03498; 0 is without
    packing: int = 1  # images that the discriminator judges together, m in arXiv:1712.04086
    augment: Augment = "none"  # how what the discriminator sees is varied, differentiably (arXiv:2006.10738)
    average_half_life_images: int = 20_000  # images after which a weight counts half in the average
    images: int = 8_000_000  # real images shown to the discriminator until the run is complete

    @property
    def cooldown_from(self) -> float:
        """Images shown before the learning rate begins to fall; infinite where it never does."""
        return self.images - self.cooldown_images if self.cooldown_images else math.inf

    def learning_rate_at(self, images: int) -> float:
        """Gives the learning rate of a step before which `images` were shown: the same, then falling in a line to 0.

        Source: the cooldown of Hägele et al., 2024, arXiv:2405.18392, section 3.
        """
        left = max(0, self.images - images) / self.cooldown_images if images > self.cooldown_from else 1.0
        return self.learning_rate * left


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named, complete configuration that reproduces one thing."""

    name: str
    summary: str
    method: Method
    size: int | None = None  # px, where it stands for images of one shape only
    channels: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Method):
    """Everything that decides the weights of a run, with where its data came from."""

    recipe: str
    data: str  # as given on the command line
    size: int  # height and width, px
    channels: int  # 1 grey, 3 colour
    data_count: int  # images that are trained on
    data_digest: str  # sha256 of the pixels as the networks see them, of all images in the data
    seed: int  # of weights, order, latents, flips, augmentation and noise; uint64
    flip: bool = False  # every second image is mirrored, by its number in the run
    held_out: str = ""  # where the held-out images are from: "" is the data itself, by content hash
    held_out_count: int = 0  # images held out; 0 is a run made before runs held any out
    held_out_digest: str = ""  # sha256 of their pixels
    labels: str = ""  # start of the sha256 of those whose classifier the watch measures by; "" is random features
    initial: str = ""  # manifest digest of the bundle whose weights it began with; "" is drawn weights

    @classmethod
    def of(cls, recipe: Recipe, **chosen: Any) -> Self:
        """Joins a recipe with the data's facts and what the user chose; the latter win."""
        return cls(**{"recipe": recipe.name, **asdict(recipe.method), **chosen})

    def save(self, file: Path) -> None:
        """Writes the settings as JSON; raises OSError where the disk refuses."""
        write_atomically(file, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            RunError: there is no such file, or it holds something else; names the setting, and what it may be.
        """
        try:
            found = cls(**json.loads(file.read_bytes()))
        except FileNotFoundError:
            raise RunError(f"{file.parent}: no run is here (it has no {file.name})") from None
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RunError(f"{file}: these are not the settings of a run ({error})") from error
        for field in fields(found):
            value = getattr(found, field.name)
            if not values.is_allowed(field.name, field.type, value):
                raise RunError(
                    f"{file}: these are not the settings of a run ({field.name} is {values.short(json.dumps(value))}; "
                    f"allowed: {values.allowed(field.name, field.type)})"
                )
        return found

    def check_continues(self, before: "Settings", directory: Path, images: int) -> None:
        """Refuses to continue a run that was started with other settings.

        Args:
            before: the settings it was started with.
            directory: of the run.
            images: shown so far.

        Raises:
            RunError: names the first setting that differs, both values, and what to do.
        """
        for field in fields(self):
            was, wanted = getattr(before, field.name), getattr(self, field.name)
            if field.name not in _FREE and was != wanted:
                name = _DIGESTS.get(field.name, field.name)
                raise RunError(
                    f"{directory} holds a run with {name} {_shown(was)}, but this command says {_shown(wanted)}; "
                    f"{_REMEDY}"
                )
        was, wanted = (f"--images {each.images}, cooldown_images {each.cooldown_images}" for each in (before, self))
        if was == wanted:
            return
        if images > before.cooldown_from:
            raise RunError(
                f"{directory} has shown {images} images, and its cooldown began after {before.cooldown_from}, so that "
                f"it can't be changed: its run has {was}, but this command says {wanted}; {_REMEDY}"
            )
        if images > self.cooldown_from:
            raise RunError(
                f"{directory} has shown {images} images, so that at most {max(0, self.images - images)} more can be "
                f"its cooldown_images, but this command says {wanted}"
            )


def _shown(value: object) -> str:
    return "none" if value == "" else str(value)
