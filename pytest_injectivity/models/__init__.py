"""A checkpoint becomes a Decoder: its layers, run to any of them, stepped by prefix."""
