"""Numbers become what people and CI read: a terminal table and JSON."""
