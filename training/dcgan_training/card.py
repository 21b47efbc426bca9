"""MODEL_CARD.md: what a person should know of a bundle before using it.

`model_card` writes the whole; who adds a part to a bundle tells of it in a section of its own, by `with_section`.
"""

from typing import Final

from dcgan.bundle.manifest import HeldOutSpec, Manifest
from dcgan_training.choices import SETTABLE
from dcgan_training.config import NORMED, Settings
from dcgan_training.recipes import RECIPES

_LAST: Final = "\n## Licence\n"


def model_card(manifest: Manifest, settings: Settings, note: str = "") -> str:
    """Writes the card from the manifest, the settings of the run, and what a person says of it, as Markdown."""
    image, training = manifest.image, manifest.training
    given = manifest.calibration is not None and training.held_out is None
    held_out = " --held-out HELD_OUT" if given else ""
    colour = "grey" if image.channels == 1 else "RGB"
    return f"""# {manifest.name} {manifest.version}

An unconditional generator: {manifest.latent.dim} values from a {manifest.latent.prior} prior to a \
{image.width}x{image.height} {colour} image.

![The samples of seed 0, index 0 to 99, unchosen](preview.png)

## How it was made

| | |
| --- | --- |
| recipe | `{training.recipe}`, width {settings.width} |
| data | {training.dataset}, {settings.data_count:,} images, sha256 `{training.dataset_digest}` |
| held out | {_held_out(training.held_out)} |
| trained on | {training.images_seen:,} images, {training.steps:,} steps of {settings.batch_size} |
| began with | {_beginning(settings)} |
| seed | {training.seed} |
| optimizer | Adam {settings.learning_rate}{_cooldown(settings)}, beta1 {settings.beta1} |
| weights | average with a half-life of {settings.average_half_life_images:,} images{_folded(settings)} |
| packages | {", ".join(f"{name} {version}" for name, version in training.packages.items())} |

```
{_command(settings, training.images_seen)}
dcgan-train export RUN --output {manifest.name}{held_out}{_checkpoint(settings, training.images_seen)}
```

## Proven equal

The same latents through torch and through onnxruntime on a CPU, in grey levels of 255:

| batch size | largest difference | mean difference |
| --- | --- | --- |
{_parity_rows(manifest)}

## Limits

It draws what its data shows and nothing else, at {image.width} pixels; some images are between two kinds of thing.
{_figures(manifest)}
{note}

## Licence

{manifest.licence}. {manifest.attribution}
"""


def with_section(card: str, title: str, body: str) -> str:
    """Gives the card with a section `## title` of this body: in the place of the old one, or before the licence."""
    section = f"\n## {title}\n\n{body.strip()}\n"
    before, found, after = card.partition(f"\n## {title}\n")
    if found:
        _, following, rest = after.partition("\n## ")
        return before + section + following + rest
    before, licence, after = card.partition(_LAST)
    return before + section + licence + after


def _command(settings: Settings, images_seen: int) -> str:
    images = settings.images if settings.cooldown_images else images_seen  # a cooldown ends where the run does
    return (
        f"dcgan-train train --recipe {settings.recipe} --data DATA --size {settings.size} --width {settings.width} "
        f"--seed {settings.seed} --images {images} --output RUN{_departures(settings)}"
    )


def _checkpoint(settings: Settings, images_seen: int) -> str:
    """Gives the flag that takes the last checkpoint of `_command`, but where the cooldown went on after the best."""
    return "" if settings.cooldown_images and images_seen < settings.images else " --checkpoint newest"


def _departures(settings: Settings) -> str:
    """Gives the flags that say where a run departs from its recipe."""
    recipe = RECIPES.get(settings.recipe)
    flags = [f" --init-from BUNDLE_{settings.initial[:12]}"] if settings.initial else []
    flags += [" --flip"] if settings.flip else []
    flags += [" --held-out HELD_OUT"] if settings.held_out else []
    flags += [" --labels LABELS"] if settings.labels else []  # by which the best checkpoint was chosen
    for name in SETTABLE:
        value = getattr(settings, name)
        if recipe is not None and value != getattr(recipe.method, name):
            flags.append(f" --set {name}={str(value).lower()}")
    return "".join(flags)


def _held_out(spec: HeldOutSpec | None) -> str:
    if spec is None:
        return "nothing"
    source = "of the data, by a hash of their pixels" if spec.source == "content-hash" else "a test set"
    return f"{spec.image_count:,} images, {source}, sha256 `{spec.digest}`"


def _beginning(settings: Settings) -> str:
    if not settings.initial:
        return "drawn weights"
    return f"the weights of the bundle whose manifest has sha256 `{settings.initial}`; its licence holds for these too"


def _cooldown(settings: Settings) -> str:
    images = settings.cooldown_images
    return f", falling to 0 over the last {images:,} images" if images else ""


def _folded(settings: Settings) -> str:
    return ", batch norm recomputed and folded" if settings.architecture in NORMED else ""


def _parity_rows(manifest: Manifest) -> str:
    return "\n".join(f"| {row.batch_size} | {row.max_levels} | {row.mean_levels:.6f} |" for row in manifest.parity)


def _figures(manifest: Manifest) -> str:
    if not manifest.figures:
        return "No quality figures were measured."
    return "\n".join(f"- {name}: {value:.4g}" for name, value in manifest.figures.items())
