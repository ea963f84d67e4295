"""Errors of a child against its parent: of its weights, and of its blocks on the parent's states."""
