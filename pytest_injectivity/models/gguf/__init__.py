"""Models from ``.gguf`` files: configuration, rotary scaling, weights, tokenizer."""
