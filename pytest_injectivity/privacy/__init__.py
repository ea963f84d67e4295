"""Who can read the prompt from what is shared, and what is left of its use (SPEC section 5)."""
