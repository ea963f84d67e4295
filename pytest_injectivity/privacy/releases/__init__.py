"""What is sent across a cut: release steps, their composition, custom releases."""
