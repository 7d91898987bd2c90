"""Trainable parameters: which they are, their dtype, and how they are saved."""
