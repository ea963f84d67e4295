"""Who reads prompts from what is released: one published attack a file, each with its source."""
