import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dcgan_training import recipes
from dcgan_training.config import Settings
from dcgan_training.errors import RecipeError, RunError
from runs import settings


def test_settings_survive_the_disk(tmp_path: Path) -> None:
    """What was written is what is read."""
    settings().save(tmp_path / "config.json")
    assert Settings.load(tmp_path / "config.json") == settings()


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    """The message says what is missing."""
    with pytest.raises(RunError, match=r"no run is here \(it has no config.json\)"):
        Settings.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b'{"recipe": "dcgan"}', b'"dcgan"', b"null", b"\xff{}", b"[" * 100_000]
)
def test_a_damaged_config_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file, the answer is one line that names it."""
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(RunError, match=r"config.json: these are not the settings of a run"):
        Settings.load(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("width", "x", 'width is "x"; allowed: 1 to 1024'),
        ("batch_size", None, "batch_size is null; allowed: 2 to 65536"),
        ("batch_size", 128.0, "batch_size is 128.0; allowed: 2 to 65536"),
        ("batch_size", True, "batch_size is true; allowed: 2 to 65536"),
        ("batch_size", 10**400, f"batch_size is 1{'0' * 39}...; allowed: 2 to 65536"),
        ("learning_rate", float("nan"), "learning_rate is NaN; allowed: 1e-08 to 1"),
        ("learning_rate", 10**400, f"learning_rate is 1{'0' * 39}...; allowed: 1e-08 to 1"),
        ("spectral_norm", 0, "spectral_norm is 0; allowed: true, false"),
        ("objective", ["hinge"], 'objective is ["hinge"]; allowed: minimax, non-saturating, hinge, relativistic'),
        ("objective", "wgan", 'objective is "wgan"; allowed: minimax, non-saturating, hinge, relativistic'),
        ("recipe", 5, "recipe is 5; allowed: text"),
        ("size", 30, "size is 30; allowed: 8, 14, 16, 28, 32, 56, 64, 112, 128"),
        ("size", [28], "size is [28]; allowed: 8, 14, 16, 28, 32, 56, 64, 112, 128"),
        ("channels", 2, "channels is 2; allowed: 1, 3"),
        ("seed", -1, "seed is -1; allowed: 0 to 1.84467e+19"),
        ("held_out_count", -1, "held_out_count is -1; allowed: 0 to 1e+15"),
    ],
)
def test_a_setting_that_cannot_be_is_named_with_what_can(tmp_path: Path, field: str, value: object, said: str) -> None:
    """When it is loaded, not where it would do harm."""
    (tmp_path / "config.json").write_text(json.dumps(asdict(settings()) | {field: value}))
    with pytest.raises(RunError) as caught:
        Settings.load(tmp_path / "config.json")
    assert caught.value.message == f"{tmp_path / 'config.json'}: these are not the settings of a run ({said})"


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_settings_of_every_recipe_survive_the_disk(tmp_path: Path, recipe: str) -> None:
    """A whole number where any is allowed, and the largest seed, too."""
    chosen = settings(recipe, seed=2**64 - 1, label_smoothing=0, penalty=1)
    chosen.save(tmp_path / "config.json")
    assert Settings.load(tmp_path / "config.json") == chosen


def test_a_run_is_not_continued_with_other_settings() -> None:
    """The message names what differs, both values, and the directory."""
    with pytest.raises(RunError, match=r"runs/x holds a run with width 2, but this command says 4"):
        replace(settings(), width=4).check_continues(settings(), Path("runs/x"), 0)


def test_a_run_may_be_continued_for_longer_and_with_moved_data() -> None:
    """Neither changes a weight that was made; what the data is, its digest says."""
    replace(settings(), images=10**6, data="elsewhere").check_continues(settings(), Path("runs/x"), 10**5)


@pytest.mark.parametrize(
    ("before", "now", "shown", "allowed"),
    [
        ((1000, 0), (1000, 400), 600, True),  # decided late
        ((1000, 0), (1000, 400), 601, False),  # too late: the rate would have fallen by now
        ((1000, 400), (2000, 400), 600, True),
        ((1000, 400), (2000, 400), 601, False),  # it has fallen, and wouldn't have
        ((1000, 400), (1000, 0), 601, False),
        ((1000, 400), (1000, 400), 900, True),
        ((1000, 0), (2000, 0), 1000, True),
    ],
)
def test_a_cooldown_may_be_changed_until_it_begins(
    before: tuple[int, int], now: tuple[int, int], shown: int, allowed: bool
) -> None:
    """Weights that were made are those that the settings of the end would have made."""
    then, later = (settings(images=images, cooldown_images=cooldown) for images, cooldown in (before, now))
    if allowed:
        later.check_continues(then, Path("runs/x"), shown)
    else:
        with pytest.raises(RunError, match=rf"runs/x has shown {shown} .* says --images {now[0]}, "):
            later.check_continues(then, Path("runs/x"), shown)


def test_a_cooldown_that_would_have_begun_is_refused_with_the_longest_one_possible() -> None:
    """A run ends with the step in which its images are over, so that less is left than the difference."""
    later = settings(images=2000, cooldown_images=1000)
    with pytest.raises(RunError, match=r"at most 976 more can be its cooldown_images, but .* cooldown_images 1000"):
        later.check_continues(settings(images=1000), Path("runs/x"), 1024)
    replace(later, cooldown_images=976).check_continues(settings(images=1000), Path("runs/x"), 1024)


def test_the_learning_rate_falls_to_nothing_over_the_last_images() -> None:
    """In a line, and not before."""
    chosen = settings(learning_rate=1e-3, images=1000, cooldown_images=400)
    rates = [chosen.learning_rate_at(images) for images in (0, 600, 700, 900, 1000)]
    assert rates == pytest.approx([1e-3, 1e-3, 0.75e-3, 0.25e-3, 0.0])
    assert settings(learning_rate=1e-3, images=1000).learning_rate_at(1000) == 1e-3


def test_a_misspelt_recipe_is_answered_with_the_nearest() -> None:
    """And with the list of all."""
    with pytest.raises(RecipeError, match=r"no recipe is called 'dgcan'; did you mean 'dcgan'\? recipes: dcgan"):
        recipes.named("dgcan")


def test_what_is_no_recipe_at_all_gets_no_guess() -> None:
    """A far-fetched suggestion helps nobody."""
    with pytest.raises(RecipeError, match=r"'stylegan3'; recipes: dcgan"):
        recipes.named("stylegan3")


@pytest.mark.parametrize(
    ("name", "of_it"),
    [
        ("mlp-digits", {"architecture": "mlp", "latent_dim": 100, "prior": "normal", "label_smoothing": 0.1}),
        ("keras-digits", {"architecture": "keras", "prior": "uniform", "objective": "minimax", "latent_dim": 100}),
        ("keras-digits", {"discriminator_steps": 2, "beta1": 0.5, "learning_rate": 2e-4}),
        ("minibatch", {"architecture": "dcgan", "minibatch_kernels": 100, "packing": 1}),
        ("packed", {"architecture": "dcgan", "minibatch_kernels": 0, "packing": 2}),
        ("scarce", {"architecture": "dcgan", "augment": "all", "objective": "non-saturating"}),
        ("strong", {"architecture": "residual", "latent_dim": 64, "objective": "relativistic", "penalty": 1.0}),
        ("strong", {"beta1": 0.0, "beta2": 0.99, "spectral_norm": False, "label_smoothing": 0.0}),
    ],
)
def test_a_recipe_is_what_it_reproduces(name: str, of_it: dict[str, object]) -> None:
    """What its source says, one by one: a changed value would be another recipe."""
    method = recipes.named(name).method
    assert {field: getattr(method, field) for field in of_it} == of_it


def test_the_default_recipe_is_the_papers() -> None:
    """Section 4 of arXiv:1511.06434."""
    recipe = recipes.DEFAULT.method
    assert (recipe.batch_size, recipe.learning_rate, recipe.beta1, recipe.latent_dim) == (128, 2e-4, 0.5, 100)
