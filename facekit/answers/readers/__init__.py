"""One reader per task, all of one shape: statements, claims, the strongest of them."""
