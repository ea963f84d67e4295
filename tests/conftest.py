"""Settings of every test."""

import os

# Before torch is imported: two workers with two spinning threads each are twelve times slower than
# two with one. One thread is also what makes a row's bits independent of its batch.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from hypothesis import settings

# No deadline: the first example of a test pays for imports, and machines are shared. The same examples
# in every run: a red run must be one's own; `--hypothesis-profile=default` looks for new ones.
settings.register_profile("pytest_injectivity", deadline=None, derandomize=True)
settings.load_profile("pytest_injectivity")
