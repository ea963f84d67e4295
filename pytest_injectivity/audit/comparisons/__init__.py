"""Comparisons of a model with its reference: drift, ratios, new collisions, cross inversion."""
