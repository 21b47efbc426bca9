"""The frozen settings of a run: what the recipe says, what the data is, what the user chose.

Owns `config.json` in the run directory. Settings decide the weights that come out; where the run is computed
(device, threads, number format, build) is `dcgan_training.machine`'s.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Self

from dcgan.latents import Prior
from dcgan_training.errors import RunError
from dcgan_training.files import write_atomically

SIZES: Final = tuple(sorted(base << k for base in (4, 7) for k in range(1, 6) if 8 <= base << k <= 128))

# Settings that may differ when a run is continued: neither changes a weight that was already made.
_FREE: Final = frozenset({"images", "data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A named, complete configuration that reproduces one thing; the user may change width and images."""

    name: str
    summary: str
    width: int  # channels of the generator's last hidden layer; they double towards the latent
    latent_dim: int  # values in a latent, z in the papers
    prior: Prior
    batch_size: int  # images in a step
    learning_rate: float  # Adam's, for both networks
    beta1: float  # Adam's decay of the first moment; 0.9 oscillates (arXiv:1511.06434, section 4)
    average_half_life_images: int  # images after which a weight counts half in the average
    images: int  # real images shown to the discriminator until the run is complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that decides the weights of a run, with where its data came from."""

    recipe: str
    data: str  # as given on the command line
    size: int  # height and width, px
    channels: int  # 1 grey, 3 colour
    data_count: int  # images in the data set
    data_digest: str  # sha256 of the pixels as the networks see them
    seed: int  # of weights, order and latents; uint64
    width: int
    latent_dim: int
    prior: Prior
    batch_size: int
    learning_rate: float
    beta1: float
    average_half_life_images: int
    images: int

    @classmethod
    def of(cls, recipe: Recipe, **chosen: Any) -> Self:
        """Joins a recipe with the data's facts and what the user chose; the latter win."""
        from_recipe = {name: value for name, value in asdict(recipe).items() if name not in ("name", "summary")}
        return cls(**{"recipe": recipe.name, **from_recipe, **chosen})

    def save(self, file: Path) -> None:
        """Writes the settings as JSON; raises OSError where the disk refuses."""
        write_atomically(file, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            RunError: there is no such file, or it holds something else.
        """
        try:
            return cls(**json.loads(file.read_text()))
        except FileNotFoundError:
            raise RunError(f"{file.parent}: no run is here (it has no {file.name})") from None
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{file}: these are not the settings of a run ({error})") from error

    def check_continues(self, before: "Settings", directory: Path) -> None:
        """Refuses to continue a run that was started with other settings.

        Raises:
            RunError: names the first setting that differs, both values, and what to do.
        """
        for field in fields(self):
            was, wanted = getattr(before, field.name), getattr(self, field.name)
            if field.name not in _FREE and was != wanted:
                raise RunError(
                    f"{directory} holds a run with {field.name} {was}, but this command says {wanted}; "
                    "choose another --output, or give the run's own settings to continue it"
                )
