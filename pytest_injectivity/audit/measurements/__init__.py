"""Measurements of a model on a prompt set, layer by layer."""
