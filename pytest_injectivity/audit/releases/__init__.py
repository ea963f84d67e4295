"""Measurements of releases of the states: attacks on them, and their utility."""
