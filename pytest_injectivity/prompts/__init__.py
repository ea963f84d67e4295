"""Files and built-in sets become prompt sets of token ids."""
