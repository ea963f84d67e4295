"""Runs attackers against releases and measures what they read, and what use a release leaves."""
