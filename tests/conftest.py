"""Settings of every test."""

from hypothesis import settings

# No deadline: the first example of a test pays for imports, and machines are shared.
settings.register_profile("pytest_injectivity", deadline=None)
settings.load_profile("pytest_injectivity")
