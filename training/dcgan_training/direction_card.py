"""The section of a model card that tells what directions a bundle has, how they were found and what they do."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from dcgan.bundle.manifest import DirectionSpec
from dcgan_training import strips
from dcgan_training.direction_measures import KEPT_PRECISION
from dcgan_training.direction_vectors import ROUNDS

COMMAND: Final = "dcgan-train directions "


def commands(card: str) -> list[str]:
    """Finds the commands in the section of a model card; none where it has no such section."""
    section = card.partition("\n## Directions\n")[2].partition("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith(COMMAND)]


def section(specs: Mapping[str, DirectionSpec], found_by: Iterable[str], files: Collection[str]) -> str:
    """Writes the section as Markdown.

    Args:
        specs: what the manifest says of each direction.
        found_by: the commands that found them, from the first on; equal ones are written once.
        files: that the bundle has; a picture that isn't one of them isn't linked.
    """
    command = "\n".join(dict.fromkeys(found_by))
    rows = "\n".join(
        f"| {_linked(name, files)} | {spec.min_strength:g} to {spec.max_strength:g} "
        f"| {'' if spec.accuracy is None else f'{spec.accuracy:.1%}'} | {spec.sample_count:,} "
        f"| {spec.positive_count / max(1, spec.sample_count):.1%} | {spec.turned:.1%} | {spec.turned_by_chance:.1%} |"
        for name, spec in specs.items()
    )
    return f"""`seed(7) + 2*direction({next(iter(specs))})` moves a sample; strength 1 is the distance between the \
mean latents of samples with and without the attribute.

| direction | useful range | accuracy of the finder | samples labelled | with it, unmoved | turned | turned by chance |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

The labelled real images were split into halves by their content. A classifier trained on one, the finder, labelled \
samples; its accuracy is the share of held-out images that it rightly says to have the attribute or not, which for a \
rare one is high even by chance. A direction leads from the mean of samples without the attribute to that of those \
which surely have it, and was turned {ROUNDS} times towards where most moved samples have it. In the useful range the \
precision of moved samples (arXiv:1904.06991, in features of the finder) is at least {KEPT_PRECISION:g} of that of \
unmoved ones; beyond it they look less and less like the data. Turned: the share of fresh samples at the greatest \
strength in which a classifier trained on the other half sees the attribute; by chance: the same for random \
directions of the same length.

```
{command}
```"""


def _linked(name: str, files: Collection[str]) -> str:
    return f"[{name}]({strips.file_of(name)})" if strips.file_of(name) in files else name
