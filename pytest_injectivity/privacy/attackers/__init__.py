"""Attackers that read prompts from released rows, and the registry that lists them."""
