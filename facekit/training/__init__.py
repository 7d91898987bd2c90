"""Training on the Hugging Face trainer; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "watching.history": ["LossHistory"],
        "watching.progress": ["RichProgress", "TrainingProgress"],
        "recipes.recipe": ["Recipe", "list_recipes", "load_recipe"],
        "recipes.settings": ["LoraSettings", "TrainingSettings"],
        "recipes.stages": ["Listeners", "StageResult", "plan_recipe", "run_recipe"],
        "loop.trainer": ["TrainingResult", "train"],
    },
)
