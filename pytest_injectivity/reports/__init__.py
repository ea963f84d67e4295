"""Results become terminal tables, Markdown, JSON, annotations and curves."""
