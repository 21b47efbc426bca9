"""The recipes by name: each is a complete, named configuration that reproduces one thing."""

from difflib import get_close_matches
from typing import Final

from dcgan_training.config import Recipe
from dcgan_training.errors import RecipeError
from dcgan_training.recipes.dcgan import DCGAN
from dcgan_training.recipes.keras_digits import KERAS_DIGITS
from dcgan_training.recipes.minibatch import MINIBATCH
from dcgan_training.recipes.mlp_digits import MLP_DIGITS
from dcgan_training.recipes.packed import PACKED
from dcgan_training.recipes.scarce import SCARCE
from dcgan_training.recipes.strong import STRONG

_ALL: Final = (DCGAN, SCARCE, MINIBATCH, PACKED, STRONG, MLP_DIGITS, KERAS_DIGITS)
RECIPES: Final[dict[str, Recipe]] = {recipe.name: recipe for recipe in _ALL}
DEFAULT: Final = DCGAN


def named(name: str) -> Recipe:
    """Finds a recipe by its name.

    Raises:
        RecipeError: there is none; the message suggests the nearest name and lists them all.
    """
    if name in RECIPES:
        return RECIPES[name]
    nearest = get_close_matches(name, RECIPES, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise RecipeError(f"no recipe is called {name[:80]!r}; {hint}recipes: {', '.join(sorted(RECIPES))}", name=name[:80])
