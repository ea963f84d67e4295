"""Attackers, one file each."""
