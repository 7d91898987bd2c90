"""What a run reports: progress, history, validation, cost, summary page and model card."""
