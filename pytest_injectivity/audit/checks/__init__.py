"""The checks of an audit, one file a check."""
