"""Recipes: a model and the stages of its training as YAML, read, checked and run."""
