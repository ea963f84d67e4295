"""What the HTML page is made of: figures with their tables, the groups of verdicts that failed."""
