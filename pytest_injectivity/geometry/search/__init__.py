"""Exact searches over rows of states: neighbors, closest pairs, near pairs, ratios."""
