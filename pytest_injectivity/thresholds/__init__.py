"""Thresholds of a suite: rows of its ini, and the measurement of trusted models that they come from."""
