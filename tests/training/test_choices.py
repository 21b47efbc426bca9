from typing import Any

import pytest

from dcgan.errors import SettingsError
from dcgan_training import recipes
from dcgan_training.choices import ALLOWED, check, check_shape, chosen
from dcgan_training.config import Recipe


def refused(*texts: str, recipe: Recipe = recipes.DEFAULT) -> str:
    """Gives what a choice is refused with."""
    with pytest.raises(SettingsError) as error:
        chosen(recipe, list(texts))
    return error.value.message


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_no_recipe_contradicts_itself(recipe: Recipe) -> None:
    """Each is a complete configuration that trains as it is."""
    check(recipe.method)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("objective=hinge", "objective", "hinge"),
        ("prior=uniform", "prior", "uniform"),
        ("spectral_norm=true", "spectral_norm", True),
        ("discriminator_steps=5", "discriminator_steps", 5),
        ("learning_rate=1e-4", "learning_rate", 1e-4),
        ("beta1=0", "beta1", 0.0),
    ],
)
def test_a_setting_is_read_as_what_it_is(text: str, name: str, value: Any) -> None:
    """Words, truths, counts and numbers; the last of two wins."""
    found = getattr(chosen(recipes.DEFAULT, [text]).method, name)
    assert found == value
    assert type(found) is type(value)
    assert getattr(chosen(recipes.DEFAULT, [text.replace("true", "false"), text]).method, name) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("objectiv=hinge", "no setting is called 'objectiv'; did you mean 'objective'?"),
        ("zzz=1", "no setting is called 'zzz'; settings: architecture, "),
        ("objective=wgan", "objective can't be 'wgan'; allowed: minimax, non-saturating, hinge, relativistic"),
        ("spectral_norm=yes", "spectral_norm can't be 'yes'; allowed: true, false"),
        ("discriminator_steps=0", "discriminator_steps 0 is out of range; allowed: 1 to 100"),
        ("discriminator_steps=1.5", "discriminator_steps can't be '1.5'; allowed: 1 to 100"),
        ("learning_rate=nan", "learning_rate nan is out of range"),
        ("beta1=1", "beta1 1 is out of range; allowed: 0 up to but not 1"),
        ("learning_rate", "learning_rate can't be ''"),
        (f"batch_size=1{'0' * 400}", f"batch_size 1{'0' * 39}... is out of range; allowed: 2 to 65536"),
        (f"batch_size=1{'0' * 9_000}", f"batch_size can't be '1{'0' * 79}'; allowed: 2 to 65536"),
        ("learning_rate=1e400", "learning_rate inf is out of range"),
        ("width=3", "width has a flag of its own: say --width 3"),
    ],
)
def test_what_cannot_be_set_is_refused_with_what_can(text: str, why: str) -> None:
    """One line that names the setting, the value and what is allowed."""
    assert why in refused(text)


def test_no_number_is_too_large_to_be_refused() -> None:
    """Also one of a flag, or one of the command line's own `--images`."""
    with pytest.raises(SettingsError, match=r"images 10{39}\.\.\. is out of range; allowed: 1 to 1e\+15"):
        chosen(recipes.DEFAULT, [], images=10**400)


@pytest.mark.parametrize(
    ("recipe", "texts", "why"),
    [
        ("dcgan", ["penalty=1"], "needs a discriminator without batch norm, and that of architecture dcgan has it"),
        ("minibatch", ["penalty=1", "spectral_norm=true"], "penalty 1 and minibatch_kernels don't go together"),
        ("strong", ["penalty=0"], "trains only by the relativistic objective with a penalty"),
        ("strong", ["objective=hinge"], "trains only by the relativistic objective with a penalty"),
        ("strong", ["architecture=dcgan"], "needs a discriminator without batch norm"),
        ("dcgan", ["architecture=residual"], "take recipe strong as it is"),
        ("strong", ["spectral_norm=true"], "contradicts the fix-up initialisation"),
        ("mlp-digits", ["objective=hinge"], "label_smoothing is for the objectives minimax and non-saturating"),
        ("mlp-digits", ["minibatch_kernels=5"], "minibatch_kernels are for architecture dcgan"),
        ("keras-digits", ["full_size_map=true"], "architecture dcgan; keras always has such a map"),
        ("strong", ["full_size_map=true"], "architecture dcgan; residual can't have such a map"),
        ("minibatch", ["packing=2"], "choose one"),
        ("dcgan", ["cooldown_images=8000001"], "cooldown_images 8000001 are the last of 8000000 images"),
        ("packed", ["packing=3"], "batch_size 128 is no multiple of packing 3"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(recipe: str, texts: list[str], why: str) -> None:
    """The message says why, and what to take instead."""
    assert why in refused(*texts, recipe=recipes.named(recipe))


def test_a_recipe_for_one_shape_refuses_others() -> None:
    """And names the recipe that draws any."""
    check_shape(recipes.named("mlp-digits"), 28, 1)
    check_shape(recipes.DEFAULT, 64, 3)
    for size, channels, remedy in (
        (64, 1, "say --size 28"),
        (28, 3, "give it grey images"),
        (64, 3, "give it grey images"),
    ):
        with pytest.raises(SettingsError) as error:
            check_shape(recipes.named("mlp-digits"), size, channels)
        assert error.value.message == (
            f"recipe mlp-digits is for images of 28x28x1, and these are {size}x{size}x{channels}; {remedy}, or take "
            "recipe dcgan, which draws any shape"
        )


def test_every_setting_says_what_is_allowed() -> None:
    """What `dcgan-train recipes NAME` lists."""
    assert all(ALLOWED.values())
    assert ALLOWED["packing"] == "1 to 64"
