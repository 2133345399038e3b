"""Recipes: how a camera's normal video becomes each detector's samples, task and manifest."""

from streamad.training.recipes.base import OpenClip, Recipe, TrainingPlan
from streamad.training.recipes.registry import recipe_for

__all__ = ["OpenClip", "Recipe", "TrainingPlan", "recipe_for"]
