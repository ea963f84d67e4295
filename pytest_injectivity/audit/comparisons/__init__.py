"""A model held against its reference: drift, ratios, new collisions, cross inversion."""
