"""Small parts used in every room; they know nothing of models or prompts."""
