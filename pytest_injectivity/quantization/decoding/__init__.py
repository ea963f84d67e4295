"""Turns the codes and scales of quantized weights into numbers."""
