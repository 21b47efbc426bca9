"""The sentence that a report begins with: how the run stands, in figures, and what is best to do."""

from typing import Final, Literal

from dcgan_training.config import Settings
from dcgan_training.history import Check
from dcgan_training.watch.rules import Seen

State = Literal["good", "running", "bad"]
_NAMES: Final = {
    "collapse": "The samples have collapsed",
    "diverged": "The run has diverged",
    "discriminator-won": "The discriminator has won",
    "never-moved": "The run never moved",
    "over-training": "The run is over-trained",
}


def verdict(
    settings: Settings, seen: Seen, images: int, complete: bool = False, kept: bool = True
) -> tuple[State, str]:
    """Gives how a run stands after `images`, in a word for its colour and in a sentence or two.

    `kept` says that its best checkpoint is there: a run whose weights diverged has none, nor one that was cut short.
    """
    best = f" Its best checkpoint is that after {seen.best:,} images." if seen.best and kept else ""
    active = [name for kind, name in _NAMES.items() if kind in seen.active]
    if active:
        return "bad", f"{' and '.join([active[0], *(name[0].lower() + name[1:] for name in active[1:])])}.{best}"
    done = complete or images >= settings.images
    if not seen.checks:
        what = "Complete" if done else "Running"
        return ("good" if done else "running"), f"{what}: no check of the samples yet, and no alarm from the losses."
    check = seen.checks[-1][1]
    word = "Complete, and no alarm is on" if done else "Running well"
    return ("good" if done else "running"), f"{word}: {_sample_words(check)}.{best}"


def _sample_words(check: Check) -> str:
    return (
        f"the samples are {check.diversity:.0%} as diverse as real images, cover {check.coverage:.0%} of those held "
        f"out, and their Fréchet distance is {check.share:.1%} of the variance of real images"
    )
