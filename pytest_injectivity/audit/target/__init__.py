"""The model and the prompt set of an audit: loading, unloading, names in reports, the store."""
