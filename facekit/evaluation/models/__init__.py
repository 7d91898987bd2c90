"""Models under test: facekit's, Hugging Face checkpoints, endpoints and recorded answers."""
