"""What is released of the states (--injx-release): what attackers read of it is measured."""


def test_what_is_read_is_measured(injx, injx_release):
    """Tokens read by every attacker, and the use that is left: numbers without a verdict."""
    assert injx.exposures(injx_release)
