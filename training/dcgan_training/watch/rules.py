"""When a run has gone wrong: pure functions of its readings and checks, so that a recorded run can be replayed.

Each rule says why it would raise its alarm now, or nothing. They are slow on purpose: a healthy GAN is noisy, its
discriminator is ahead for most of a run, and an alarm that cries wolf is switched off.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dcgan_training.config import Method
from dcgan_training.history import Alarm, Check, Kind, Reading, Record, figure
from dcgan_training.trainer import Losses

EARLY_SHARE: Final = 0.1  # of the run, in which much is forgiven
RUNNING: Final = 3  # checks in a row that must agree

LOST_DIVERSITY: Final = 0.6  # of the run's best, under which samples have collapsed
LEAST_DIVERSITY: Final = 0.45  # of real images'

WON_READINGS: Final = 10
WON_MARGIN: Final = 0.97  # between its mean outputs on real and fake; a healthy DCGAN's is 0.5 to 0.9 for long
WON_GAP: Final = {"hinge": 6.0, "relativistic": 10.0}  # between its mean logits; hinge stops pushing at 2
WON_STALL: Final = 0.97  # of the best distance before: samples that get nearer than this still learn

STILL_READINGS: Final = 5
STILL_SPREAD: Final = 2e-3  # of a loss, relative: it is constant
STILL_DISTANCE: Final = 1.1  # largest over smallest distance: the samples go nowhere
STILL_NORM: Final = 1e-7  # of a gradient: it is zero

DIVERGED_RISE: Final = 2.0  # of the best distance

OVER_CHECKS: Final = 5  # in a row
OVER_RISE: Final = 1.25  # of the best distance
OVER_NOISE: Final = 0.01  # of the real images' variance, on top


@dataclass
class Seen:
    """What a run has measured so far, each with the images seen then."""

    method: Method
    readings: list[tuple[int, Losses]] = field(default_factory=list)
    checks: list[tuple[int, Check]] = field(default_factory=list)
    active: set[Kind] = field(default_factory=set)

    def is_early(self, images: int) -> bool:
        """Whether `images` are within the run's beginning."""
        return images < EARLY_SHARE * self.method.images

    @property
    def best(self) -> int | None:
        """Images seen at the check whose samples were nearest to the held-out images; None before the first."""
        finite = [(check.frechet_distance, images) for images, check in self.checks if _is_finite(check)]
        return min(finite)[1] if finite else None


class Rules:
    """Applies the rules to one record after another; each alarm is raised once, and again only after it cleared."""

    def __init__(self, method: Method) -> None:
        self.seen = Seen(method)

    def add(self, images: int, what: Losses | Check) -> list[Alarm]:
        """Takes what was measured after `images`; gives the alarms that it raises."""
        if isinstance(what, Losses):
            self.seen.readings.append((images, what))
        else:
            self.seen.checks.append((images, what))
        raised = []
        for kind, rule in RULES.items():
            reason = rule(self.seen)
            if reason is None:
                self.seen.active.discard(kind)
            elif kind not in self.seen.active:
                self.seen.active.add(kind)
                raised.append(Alarm(kind, reason))
        return raised


def replay(method: Method, records: Iterable[Record]) -> tuple[Rules, list[tuple[int, Alarm]]]:
    """Applies the rules to a recorded run; gives them as they stand in the end, and each alarm with its images."""
    rules = Rules(method)
    alarms: list[tuple[int, Alarm]] = []
    for record in records:
        what = record.what.losses if isinstance(record.what, Reading) else record.what
        if not isinstance(what, Alarm):
            alarms += [(record.images, alarm) for alarm in rules.add(record.images, what)]
    return rules, alarms


def collapse(seen: Seen) -> str | None:
    """The samples are much alike: under 60 % of the run's best diversity, or too little after its beginning.

    More than real images have is no merit: noise has it. So the best counts up to 1.
    """
    best, poor = 0.0, list[tuple[int, str]]()
    for images, check in seen.checks:
        best = max(best, min(check.diversity, 1.0))
        if check.diversity < LOST_DIVERSITY * best:
            poor.append((images, f"the run's best was {best:.0%}"))
        elif check.diversity <= LEAST_DIVERSITY and not seen.is_early(images):
            poor.append((images, f"{LEAST_DIVERSITY:.0%} is the least by now"))
        else:
            poor.clear()
    if len(poor) < RUNNING or _stillness(seen) is not None:
        return None
    _, check = seen.checks[-1]
    return (
        f"the samples collapse: they are {check.diversity:.0%} as diverse as real images, where {poor[-1][1]}, in "
        f"{len(poor)} checks running since {poor[0][0]:,} images{_best(seen)}; "
        f"start again with {_against_collapse(seen.method)}"
    )


def discriminator_won(seen: Seen) -> str | None:
    """The discriminator has no doubt left for long, and the samples no longer get nearer to real images.

    By its mean outputs where those have a meaning, by the gap of its logits for hinge and relativistic. Either says
    nothing alone: the samples of many a healthy run get better against a discriminator that is nearly sure.
    """
    streak = 0
    for _, losses in reversed(seen.readings):
        if not _has_no_doubt(seen.method, losses):
            break
        streak += 1
    if streak < WON_READINGS or _still_learns([check for _, check in seen.checks]):
        return None
    losses, since = seen.readings[-1][1], seen.readings[-streak][0]
    return (
        f"the discriminator has won: {_verdict(seen.method, losses)} in all readings since {since:,} images, and the "
        f"samples get no better{_best(seen)}; start again with a smaller --set learning_rate, with --set "
        "spectral_norm=true or instance_noise=0.1, with recipe scarce if there are few images, or with a narrower "
        "discriminator_width"
    )


def never_moved(seen: Seen) -> str | None:
    """Nothing has happened since the start: constant losses, no gradient, or samples that get no nearer to real ones.

    The first two as in StudioGAN's issue 112. The distance of one mean image drawn again and again is the yardstick.
    """
    still = _stillness(seen)
    if still is not None:
        return _unmoved(still)
    late = [images for images, _ in seen.checks if not seen.is_early(images)]
    if len(late) < RUNNING or "collapse" in seen.active:
        return None
    distances = [check.frechet_distance for _, check in seen.checks]
    last = seen.checks[-1][1]
    if min(distances) > last.real_variance and max(distances) < STILL_DISTANCE * min(distances):
        return _unmoved(f"the samples have been farther from real images than {_yardstick(last)} in every check")
    return None


def over_training(seen: Seen) -> str | None:
    """The samples have been clearly farther from held-out images than the best ones were, in five checks running."""
    if len(seen.checks) <= OVER_CHECKS or seen.active & {"collapse", "diverged", "discriminator-won"}:
        return None
    last = [check for _, check in seen.checks[-OVER_CHECKS:]]
    best = min(check.frechet_distance for _, check in seen.checks)
    limit = OVER_RISE * best + OVER_NOISE * last[-1].real_variance
    if not all(check.frechet_distance > limit for check in last):
        return None
    return (
        f"over-training: the Fréchet distance from held-out images is {figure(last[-1].frechet_distance)} and was "
        f"above {figure(limit)} in {OVER_CHECKS} checks running; it was best, {figure(best)}, after {seen.best:,} "
        "images: stop here and take that checkpoint, or start again with more images, --flip, or recipe scarce"
    )


def diverged(seen: Seen) -> str | None:
    """A figure is no longer finite, or samples that were nearer to real images are farther than a mean one for long."""
    if seen.readings and not all(map(math.isfinite, _values(seen.readings[-1][1]))):
        return f"the run has diverged: a loss or gradient is no longer finite{_best(seen)}; {_SLOWER}"
    if seen.checks and not _is_finite(seen.checks[-1][1]):
        return f"the run has diverged: the samples can't be measured any more{_best(seen)}; {_SLOWER}"
    last = [check for _, check in seen.checks[-RUNNING:]]
    if len(last) < RUNNING or "collapse" in seen.active:
        return None
    least = min(check.frechet_distance for _, check in seen.checks)
    if all(check.frechet_distance > max(check.real_variance, DIVERGED_RISE * least) for check in last):
        return (
            f"the run has diverged: its samples are farther from real images than {_yardstick(last[-1])} and than "
            f"{DIVERGED_RISE:g} times the best in {RUNNING} checks running{_best(seen)}; {_SLOWER}"
        )
    return None


RULES: Final[dict[Kind, Callable[[Seen], str | None]]] = {
    "collapse": collapse,  # first: it makes the distance rise, and keeps it from falling, and is the better name
    "never-moved": never_moved,
    "diverged": diverged,
    "discriminator-won": discriminator_won,
    "over-training": over_training,
}

_SLOWER: Final = "start again with a smaller --set learning_rate, a quarter of this one's"


def _has_no_doubt(method: Method, losses: Losses) -> bool:
    if method.objective in WON_GAP:
        return losses.gap > WON_GAP[method.objective]
    return losses.belief_real - losses.belief_fake > WON_MARGIN * (1.0 - method.label_smoothing)


def _verdict(method: Method, losses: Losses) -> str:
    if method.objective in WON_GAP:
        return f"its mean logits are {losses.gap:.1f} apart"
    return f"it holds real images for real by {losses.belief_real:.1%} and fakes by {losses.belief_fake:.1%}"


def _still_learns(checks: Sequence[Check]) -> bool:
    """Whether one of the last checks is clearly better than all before them, or nobody can say yet."""
    if not checks:
        return False
    before, last = checks[:-RUNNING], checks[-RUNNING:]
    if not before:
        return True
    best_before = min(check.frechet_distance for check in before)
    return min(check.frechet_distance for check in last) < WON_STALL * best_before


def _stillness(seen: Seen) -> str | None:
    """Says what in the readings shows that nothing has ever moved; None where something has."""
    losses = [losses for _, losses in seen.readings]
    if len(losses) < STILL_READINGS:
        return None
    if _is_constant([each.generator for each in losses]) and _is_constant([each.discriminator for each in losses]):
        return f"the losses are constant, {losses[-1].discriminator:.4g} and {losses[-1].generator:.4g}"
    if all(each.norm_generator < STILL_NORM < each.norm_discriminator for each in losses):
        return "the generator gets no gradient"
    return None


def _is_constant(values: Sequence[float]) -> bool:
    return max(values) - min(values) <= STILL_SPREAD * max(map(abs, values))


def _unmoved(what: str) -> str:
    return (
        f"the run never moved: {what}; look at the sheet of `dcgan-train inspect`, then start again with another "
        "--seed, --set learning_rate=2e-4 and the recipe's own objective"
    )


def _yardstick(check: Check) -> str:
    distance, mean = figure(check.frechet_distance), figure(check.real_variance)
    return f"one mean image drawn again and again ({distance}, above {mean})"


def _best(seen: Seen) -> str:
    return "" if seen.best is None else f" (the best checkpoint is that after {seen.best:,} images)"


def _against_collapse(method: Method) -> str:
    """Says what to try that the run hasn't tried."""
    cures = [] if method.packing > 1 or method.minibatch_kernels else ["recipe packed or minibatch"]
    if method.learning_rate > 2e-4:
        cures.insert(0, "--set learning_rate=2e-4")
    return ", or with ".join([*cures, "more and more varied images"])


def _values(losses: Losses) -> list[float]:
    return [losses.discriminator, losses.generator, losses.gap, losses.norm_discriminator, losses.norm_generator]


def _is_finite(check: Check) -> bool:
    return math.isfinite(check.frechet_distance) and math.isfinite(check.diversity)
