"""States captured elsewhere (--injx-states): whether this model reads them."""


def test_states_are_read(injx):
    """The prompts of the file are read back; states of another model or layer are recognized."""
    injx.assert_states_recoverable()
