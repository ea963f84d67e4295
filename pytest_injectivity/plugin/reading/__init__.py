"""Reads from the source of tests which checks they call, without running them."""
