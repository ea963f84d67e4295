"""Token ids become hidden states: batches, capture, the noise floor."""
