"""Quality of answers: filters, duplicates, contradictions, ratings and their report."""
