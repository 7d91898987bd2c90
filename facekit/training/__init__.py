"""Training on the Hugging Face trainer; names load when they are first used."""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "history": ["LossHistory"],
        "progress": ["RichProgress", "TrainingProgress"],
        "recipe": ["Recipe", "list_recipes", "load_recipe"],
        "settings": ["LoraSettings", "TrainingSettings"],
        "stages": ["Listeners", "StageResult", "plan_recipe", "run_recipe"],
        "trainer": ["TrainingResult", "train"],
    },
)
