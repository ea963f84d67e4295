"""Releases: what is sent of a prompt across a trust boundary, as steps, chains and custom functions."""
