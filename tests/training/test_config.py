from dataclasses import replace
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


@pytest.mark.parametrize("text", ["", "[]", "{", '{"recipe": "dcgan"}', '"dcgan"', "null"])
def test_a_damaged_config_is_refused(tmp_path: Path, text: str) -> None:
    """Whatever stands in the file, the answer is one line that names it."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config.json: these are not the settings of a run"):
        Settings.load(tmp_path / "config.json")


def test_a_run_is_not_continued_with_other_settings() -> None:
    """The message names what differs, both values, and the directory."""
    with pytest.raises(RunError, match=r"runs/x holds a run with width 2, but this command says 4"):
        replace(settings(), width=4).check_continues(settings(), Path("runs/x"))


def test_a_run_may_be_continued_for_longer_and_with_moved_data() -> None:
    """Neither changes a weight that was made; what the data is, its digest says."""
    replace(settings(), images=10**6, data="elsewhere").check_continues(settings(), Path("runs/x"))


def test_a_misspelt_recipe_is_answered_with_the_nearest() -> None:
    """And with the list of all."""
    with pytest.raises(RecipeError, match=r"no recipe is called 'dgcan'; did you mean 'dcgan'\? recipes: dcgan"):
        recipes.named("dgcan")


def test_what_is_no_recipe_at_all_gets_no_guess() -> None:
    """A far-fetched suggestion helps nobody."""
    with pytest.raises(RecipeError, match=r"'stylegan3'; recipes: dcgan"):
        recipes.named("stylegan3")


def test_the_default_recipe_is_the_papers() -> None:
    """Section 4 of arXiv:1511.06434."""
    recipe = recipes.DEFAULT.method
    assert (recipe.batch_size, recipe.learning_rate, recipe.beta1, recipe.latent_dim) == (128, 2e-4, 0.5, 100)
