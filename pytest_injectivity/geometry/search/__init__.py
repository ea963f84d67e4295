"""Exact searches over rows of states: neighbours, closest pairs, near pairs, ratios."""
