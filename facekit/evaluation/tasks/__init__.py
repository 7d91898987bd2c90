"""The tasks: questions, truths, parsers and metrics."""
