"""The part of a model that an error comes from, found by exchanging parts with its parent."""
