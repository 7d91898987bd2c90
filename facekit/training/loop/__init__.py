"""The training run: dataset, trainer, losses, batching, checkpoints, several processes."""
