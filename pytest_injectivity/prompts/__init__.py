"""Text files and data sets become a PromptSet of distinct token ids."""
