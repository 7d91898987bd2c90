"""Published benchmarks: their files, prompts, scoring rules and tables."""
