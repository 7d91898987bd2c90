"""Explanations rated by judge models, and checked without one."""
