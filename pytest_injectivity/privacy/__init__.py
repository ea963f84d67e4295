"""What can be read from shared activations."""
