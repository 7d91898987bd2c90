"""Disparities between demographic groups."""
