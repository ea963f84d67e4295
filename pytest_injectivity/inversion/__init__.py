"""Hidden states become prompts."""
