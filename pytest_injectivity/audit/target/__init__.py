"""The model and the prompt set of an audit: loading, unloading, names, the store."""
