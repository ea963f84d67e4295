"""The commands of ``pytest-injectivity``, one a file; `pytest_injectivity.__main__` has the parser."""
