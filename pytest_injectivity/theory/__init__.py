"""What the theory says of a model, as numbers (SPEC, from section 10 on)."""
