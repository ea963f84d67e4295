"""Searches over candidate tokens, shared by attackers."""
