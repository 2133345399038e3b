"""Which recipe trains which detector."""

from __future__ import annotations

from streamad.errors import UsageError
from streamad.training.recipes.base import Recipe
from streamad.training.recipes.cells import AdaclRecipe, AlpsRecipe
from streamad.training.recipes.whole_frames import IgdRecipe, LearnedNoiseRecipe

_RECIPES: dict[str, type[Recipe]] = {
    "adacl": AdaclRecipe,
    "alps": AlpsRecipe,
    "learned_noise": LearnedNoiseRecipe,
    "igd": IgdRecipe,
}


def recipe_for(detector: str) -> type[Recipe]:
    """The recipe of a detector.

    Raises:
        UsageError: it cannot be trained from video.
    """
    if detector not in _RECIPES:
        raise UsageError(f"there is no training for {detector!r}", hint=f"known: {', '.join(_RECIPES)}")
    return _RECIPES[detector]
