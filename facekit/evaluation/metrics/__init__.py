"""Metrics with confidence intervals, calibration, agreement between judges, and paired comparison."""
