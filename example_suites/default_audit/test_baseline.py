"""Numbers recorded before (--injx-baseline): whether they are as good today."""


def test_numbers_are_the_recorded_ones(injx):
    """No number of a layer is worse than its baseline, beyond its tolerance."""
    injx.assert_matches_baseline()
