"""Training on the Hugging Face trainer: recipes, stages, settings, callbacks and checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from facekit.training.loop.trainer import TrainingResult, train
    from facekit.training.recipes.recipe import Recipe, list_recipes, load_recipe
    from facekit.training.recipes.settings import LoraSettings, TrainingSettings
    from facekit.training.recipes.stages import Listeners, StagePlan, StageResult, plan_recipe, run_recipe
    from facekit.training.watching.history import LossHistory
    from facekit.training.watching.progress import RichProgress, TrainingProgress
    from facekit.training.watching.validation_loss import LossValidation

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "loop.trainer": ["TrainingResult", "train"],
        "recipes.recipe": ["Recipe", "list_recipes", "load_recipe"],
        "recipes.settings": ["LoraSettings", "TrainingSettings"],
        "recipes.stages": ["Listeners", "StagePlan", "StageResult", "plan_recipe", "run_recipe"],
        "watching.history": ["LossHistory"],
        "watching.validation_loss": ["LossValidation"],
        "watching.progress": ["RichProgress", "TrainingProgress"],
    },
)
