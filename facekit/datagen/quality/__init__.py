"""Which answers are good enough to train on: filters, duplicates, contradictions, ratings, and the report on them."""
