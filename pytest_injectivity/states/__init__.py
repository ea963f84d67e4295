"""Token ids become hidden states."""
