"""One file a format of quantized checkpoints, and the table of them all (`registry`)."""
