"""Annotators: any OpenAI-compatible endpoint, its batch interface, or templates; registered by name."""
