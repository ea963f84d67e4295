"""Faults of states that were captured elsewhere, and what they look like instead.

A finder takes one prompt with its ids, its states as claimed and the model, and gives the faults that it
can prove: another hypothesis (another layer, another order, a rounded cache) fits where the claim does
not. `diagnosis.FINDERS` has a row for each, in the order in which they are asked.
"""
