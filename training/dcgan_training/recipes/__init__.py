"""The recipes by name: each is a complete, named configuration that reproduces one thing."""

from difflib import get_close_matches
from typing import Final

from dcgan_training.config import Recipe
from dcgan_training.errors import RecipeError
from dcgan_training.recipes.dcgan import DCGAN

RECIPES: Final[dict[str, Recipe]] = {recipe.name: recipe for recipe in (DCGAN,)}
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
