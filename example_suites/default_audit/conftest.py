"""Leaves out the tests of what is not named: without a parent nothing is held against one."""

ONLY_WITH = {
    "test_against_parent.py": "injx_reference",
    "test_baseline.py": "injx_baseline",
    "test_releases.py": "injx_release",
    "test_states.py": "injx_states",
}


def pytest_ignore_collect(collection_path, config):
    """A file whose option is not given is no skipped test: nothing is missing for it."""
    option = ONLY_WITH.get(collection_path.name)
    if option is not None and not (config.getoption(option) or config.getini(option)):
        return True
    return None
