"""The audit of one model on one prompt set."""
