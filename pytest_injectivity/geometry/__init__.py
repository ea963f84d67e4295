"""Hidden states become numbers."""
