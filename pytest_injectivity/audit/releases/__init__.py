"""What is released of the states: attacked, and used."""
