"""Helpers used all over the package, independent of models and prompts."""
