"""Loads checkpoints as decoders, whose hidden states can be read at any layer."""
