"""Prompt files: what opens them, and a reader for each kind."""
