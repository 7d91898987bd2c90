"""Monitoring of a run: progress, history, validation, cost, summary page and model card."""
