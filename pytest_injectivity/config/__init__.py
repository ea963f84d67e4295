"""What an audit is asked to do: options, their parsers, the grammar of releases."""
