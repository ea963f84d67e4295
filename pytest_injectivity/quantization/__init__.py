"""Formats of quantized weights and activations: detection, loading, arithmetic."""
