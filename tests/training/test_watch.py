import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dcgan.latents import Floats32
from dcgan_training import history, recipes
from dcgan_training.config import Method
from dcgan_training.data import load
from dcgan_training.history import Alarm, Check, History, Reading
from dcgan_training.trainer import Losses
from dcgan_training.watch import Watch
from dcgan_training.watch.rules import Rules, replay
from runs import SUBSET, settings

TRACES = Path(__file__).parent / "traces"
METHOD = Method(images=1_000_000)
HEALTHY = Losses(0.8, 2.0, 0.8, 0.2, 3.0, 0.5, 0.5)
SURE = Losses(0.01, 8.0, 0.995, 0.004, 12.0, 0.01, 1.0)
GOOD = Check(
    diversity=0.9,
    duplicates=0.0,
    frechet_distance=100.0,
    precision=0.7,
    coverage=0.6,
    real_distance=2.0,
    real_variance=1000.0,
)
IMAGES = load(SUBSET).images


def checks(**values: list[float]) -> list[Check]:
    """Gives checks that differ from a good one in these fields."""
    return [replace(GOOD, **dict(zip(values, each, strict=True))) for each in zip(*values.values(), strict=True)]


def kinds(found: list[Check], method: Method = METHOD, losses: Losses = HEALTHY) -> list[str]:
    """Gives the alarms of a run with a check every 50,000 images and five readings before each."""
    rules, raised = Rules(method), list[Alarm]()
    for number, check in enumerate(found, start=1):
        for reading in range(5):
            wobble = replace(losses, generator=losses.generator * (1 + 0.05 * (reading % 2)))
            raised += rules.add(number * 50_000 - (4 - reading) * 10_000, wobble)
        raised += rules.add(number * 50_000, check)
    return [alarm.kind for alarm in raised]


def test_a_healthy_run_raises_nothing() -> None:
    """Its discriminator is ahead all the time, its distance falls and wobbles."""
    distances = [600.0, 400, 300, 320, 200, 210, 150, 170, 140, 130, 160, 150, 135, 145, 150]
    assert kinds(checks(frechet_distance=distances)) == []


def test_lost_diversity_is_a_collapse_at_the_third_check() -> None:
    """Under 60 % of the run's best, three checks running."""
    assert kinds(checks(diversity=[0.8, 0.9, 0.5, 0.5])) == []
    assert kinds(checks(diversity=[0.8, 0.9, 0.5, 0.5, 0.5])) == ["collapse"]
    assert kinds(checks(diversity=[0.8, 0.9, 0.5, 0.5, 0.6, 0.5, 0.5])) == []


def test_diversity_that_never_came_is_a_collapse() -> None:
    """Not above 0.45 of real images', three checks running after the first tenth."""
    low = [0.4] * 8
    assert kinds(checks(diversity=low[:4])) == ["collapse"]
    assert kinds(checks(diversity=low), replace(METHOD, images=8_000_000)) == []


def test_noise_at_the_start_is_no_diversity_to_lose() -> None:
    """More than real images have counts as what they have."""
    assert kinds(checks(diversity=[2.0, 0.8, 0.7, 0.7, 0.8])) == []


def test_an_alarm_is_raised_once_until_it_clears() -> None:
    """A second collapse is news; a lasting one is not."""
    assert kinds(checks(diversity=[0.9, 0.3, 0.3, 0.3, 0.3, 0.3])) == ["collapse"]
    assert kinds(checks(diversity=[0.9, 0.3, 0.3, 0.3, 0.9, 0.3, 0.3, 0.3])) == ["collapse", "collapse"]


def test_a_discriminator_without_doubt_has_won_once_samples_stand_still() -> None:
    """By its outputs; against samples that still get better it has not."""
    assert kinds(checks(frechet_distance=[300.0] * 6), losses=SURE) == ["discriminator-won"]
    assert kinds(checks(frechet_distance=[300.0, 250, 210, 190, 160, 140]), losses=SURE) == []


@pytest.mark.parametrize(("objective", "gap"), [("hinge", 7.0), ("relativistic", 12.0)])
def test_by_the_gap_where_outputs_mean_nothing(objective: Any, gap: float) -> None:
    """A sure-looking output is normal there."""
    method, still = replace(METHOD, objective=objective), checks(frechet_distance=[300.0] * 6)
    assert kinds(still, method, replace(SURE, gap=2.0)) == []
    assert kinds(still, method, replace(SURE, gap=gap)) == ["discriminator-won"]


def test_smoothed_labels_lower_what_counts_as_sure() -> None:
    """An output of 0.9 is all that they ask for."""
    smooth = replace(METHOD, label_smoothing=0.1)
    losses = replace(SURE, belief_real=0.9, belief_fake=0.005)
    assert kinds(checks(frechet_distance=[300.0] * 6), smooth, losses) == ["discriminator-won"]
    assert kinds(checks(frechet_distance=[300.0] * 6), METHOD, losses) == []


def test_constant_losses_from_the_start_are_a_run_that_never_moved() -> None:
    """As in StudioGAN's issue 112; constant ones later are not."""
    rules = Rules(METHOD)
    raised = [rules.add(10_000 * number, replace(HEALTHY, norm_generator=0.1)) for number in range(1, 6)]
    assert [len(each) for each in raised] == [0, 0, 0, 0, 1]
    assert raised[-1][0].kind == "never-moved"
    rules = Rules(METHOD)
    rules.add(10_000, SURE)
    assert not any(rules.add(10_000 * number, HEALTHY) for number in range(2, 20))


def test_no_gradient_is_a_run_that_never_moved() -> None:
    """The discriminator learns and the generator gets nothing."""
    rules = Rules(METHOD)
    for number in range(1, 6):
        losses = Losses(1.0 / number, number, 0.7, 0.3, number, 0.5, 0.0)
        raised = rules.add(10_000 * number, losses)
    assert [alarm.kind for alarm in raised] == ["never-moved"]


def test_samples_that_get_no_nearer_are_a_run_that_never_moved() -> None:
    """Farther than one mean image in every check, three of them after the first tenth; a slow start is fine."""
    assert kinds(checks(frechet_distance=[1500.0, 1490, 1480, 1500])) == ["never-moved"]
    assert kinds(checks(frechet_distance=[3000.0, 2000, 1400, 900])) == []


def test_one_trouble_has_one_name() -> None:
    """All alike and far away is a collapse, but where nothing was ever learned it is a run that never moved."""
    lost = checks(diversity=[0.1] * 4, frechet_distance=[1500.0, 1490, 1480, 1490])
    assert kinds(lost) == ["collapse"]
    rising = checks(frechet_distance=[300.0, 200, 100, 150, 160, 150, 170, 180])
    assert kinds(rising, losses=SURE) == ["discriminator-won"]
    rules, raised = Rules(METHOD), list[Alarm]()
    for number, check in enumerate(lost, start=1):
        for images in range(50_000 * (number - 1), 50_000 * number, 10_000):
            raised += rules.add(images + 10_000, HEALTHY)
        raised += rules.add(50_000 * number, check)
    assert [alarm.kind for alarm in raised] == ["never-moved"]


def test_a_distance_that_rose_for_long_is_over_training() -> None:
    """Clearly above the best in five checks running; the message names the best checkpoint."""
    fall = [300.0, 200, 100]
    assert kinds(checks(frechet_distance=[*fall, 120, 130, 125, 130, 120])) == []
    assert kinds(checks(frechet_distance=[*fall, 150, 160, 150, 170, 180])) == ["over-training"]
    rules = Rules(METHOD)
    for number, check in enumerate(checks(frechet_distance=[*fall, 150, 160, 150, 170, 180]), start=1):
        raised = rules.add(number * 50_000, check)
    assert "it was best, 100, after 150,000 images" in raised[0].message


def test_near_the_floor_a_rise_is_noise() -> None:
    """A quarter more than almost nothing is almost nothing."""
    assert kinds(checks(frechet_distance=[50.0, 10, 14, 15, 16, 14, 17, 15])) == []


def test_samples_that_fly_apart_have_diverged() -> None:
    """They were near and are farther than one mean image; and what is no number never comes back."""
    assert kinds(checks(frechet_distance=[300.0, 200, 1500, 1600, 1700])) == ["diverged"]
    assert kinds(checks(frechet_distance=[2600.0, 1400, 3000, 7000, 10000, 11000])) == ["diverged"]
    assert kinds(checks(frechet_distance=[300.0, float("nan")])) == ["diverged"]
    assert [alarm.kind for alarm in Rules(METHOD).add(1, replace(HEALTHY, norm_generator=float("inf")))] == ["diverged"]


def test_a_collapse_advises_what_the_run_has_not_tried() -> None:
    """Packing to a run without; a smaller learning rate to one with a large one."""
    lost = checks(diversity=[0.9, 0.3, 0.3, 0.3])
    rules = Rules(METHOD)
    raised = [alarm for number, check in enumerate(lost) for alarm in rules.add((number + 1) * 50_000, check)]
    assert "since 100,000 images" in raised[0].message
    assert "recipe packed or minibatch" in raised[0].message
    rules = Rules(replace(METHOD, packing=2, learning_rate=2e-3))
    raised = [alarm for number, check in enumerate(lost) for alarm in rules.add((number + 1) * 50_000, check)]
    assert "packed" not in raised[0].message
    assert "--set learning_rate=2e-4" in raised[0].message


def watching(images: int = 1_000_000, history: History | None = None) -> Watch:
    """Gives a watch over a run on the subset, of which it holds out 300 images."""
    return Watch(settings(images=images), IMAGES[:300], history or History.unwritten())


def real(values: Floats32) -> NDArray[np.uint8]:
    """Draws images that the watch wasn't given: a generator that could do no better."""
    return IMAGES[300 + np.arange(len(values)) % 100]


def test_checks_come_by_images_seen() -> None:
    """Every 50,000, and forty in a long run; a run of a step that jumps over two has one."""
    assert [now for now in range(64, 200_000, 64) if watching().due(now - 64, now)] == [50_048, 100_032, 150_016]
    watch = watching(8_000_000)
    assert not watch.due(199_000, 199_999)
    assert watch.due(199_999, 200_000)


def test_without_held_out_images_there_is_no_check() -> None:
    """Nothing to compare with; readings and their alarms remain."""
    assert not Watch(settings(), IMAGES[:10], History.unwritten()).due(0, 10**9)


def test_a_budget_of_hours_is_checked_as_often_as_may_be() -> None:
    """Nobody knows how many images it will show; a fortieth of a recipe's may be more."""
    watch = Watch(settings(images=8_000_000), IMAGES[:40], History.unwritten(), by_hours=True)
    assert watch.due(49_999, 50_000)


def test_real_images_measure_as_real() -> None:
    """Their diversity is that of the others, they cover them, and they are at no distance to speak of."""
    check, alarms = watching().check(50_000, real)
    assert alarms == []
    assert 0.8 < check.diversity < 1.2
    assert check.frechet_distance < 0.5 * check.real_variance
    assert check.coverage > 0.4


def test_one_image_again_and_again_measures_as_a_collapse() -> None:
    """No diversity, all duplicates, and about the variance of real images away."""
    watch = watching()
    watch.check(50_000, real)
    mean = IMAGES[:300].mean(axis=0).astype(np.uint8)
    for number in range(2, 5):
        check, alarms = watch.check(number * 50_000, lambda values: np.repeat(mean[None], len(values), axis=0))
    assert check.diversity < 0.01
    assert check.duplicates == pytest.approx(1.0, abs=0.01)
    assert [alarm.kind for alarm in alarms] == ["collapse"]


def test_a_resumed_watch_raises_what_an_unbroken_one_would(tmp_path: Path) -> None:
    """Its state is rebuilt from the history: the third poor check counts from before, and is told once."""

    def go_on(watch: Watch, first: int) -> None:
        for number in range(first, 7):
            watch.check(number * 50_000, real if number == 1 else lambda _: np.repeat(IMAGES[:1], 1024, axis=0))

    whole = watching(history=History.open(tmp_path, 0))
    go_on(whole, 1)
    lines = (tmp_path / "history.jsonl").read_text()
    for images in (100_000, 150_000, 200_000):
        resumed = watching(history=History.open(tmp_path, images))
        go_on(resumed, images // 50_000 + 1)
        assert (tmp_path / "history.jsonl").read_text() == lines
        assert resumed.best == whole.best
    assert sum("alarm" in json.loads(line) for line in lines.splitlines()) == 1


def test_the_best_check_is_the_one_nearest_to_real_images() -> None:
    """By Fréchet distance; none before the first."""
    rules = Rules(METHOD)
    assert rules.seen.best is None
    for number, check in enumerate(checks(frechet_distance=[300.0, 100, float("nan"), 200]), start=1):
        rules.add(number * 50_000, check)
    assert rules.seen.best == 100_000


def traced(file: Path) -> tuple[Method, list[history.Record]]:
    """Reads a recorded run, whose file is named RECIPE-ANYTHING.jsonl."""
    records = history.parse(file.read_bytes(), file)
    name = max((name for name in recipes.RECIPES if file.stem.startswith(name)), key=len)
    return replace(recipes.named(name).method, images=records[-1].images), records


def test_ten_healthy_runs_of_four_recipes_are_recorded() -> None:
    """Of tests/benchmarks/recipes.py, on three seeds each."""
    names = [file.stem.rsplit("-", 1)[0] for file in TRACES.glob("*.jsonl")]
    assert len(names) >= 10
    assert set(names) == {"dcgan", "minibatch", "packed", "strong"}


@pytest.mark.parametrize("file", sorted(TRACES.glob("*.jsonl")), ids=lambda file: file.stem)
def test_a_recorded_healthy_run_raises_no_alarm(file: Path) -> None:
    """Real runs to their ends, readings and checks as they were."""
    method, records = traced(file)
    assert any(isinstance(record.what, Reading) for record in records)
    assert any(isinstance(record.what, Check) for record in records)
    assert replay(method, records)[1] == []


@pytest.mark.parametrize("file", sorted((TRACES / "collapsed").glob("*.jsonl")), ids=lambda file: file.stem)
def test_a_recorded_collapse_raises_its_alarm(file: Path) -> None:
    """Runs of tests/benchmarks/collapse.py; the rules say again what they said then."""
    method, records = traced(file)
    said = [record.what.kind for record in records if isinstance(record.what, Alarm)]
    assert "collapse" in said
    assert [alarm.kind for _, alarm in replay(method, records)[1]] == said
