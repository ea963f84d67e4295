"""Attackers run against releases: schedule, rates, utility, robustness."""
