"""Checkpoints become decoders that run to any layer."""
