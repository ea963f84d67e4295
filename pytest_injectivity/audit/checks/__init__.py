"""The checks of an audit, one file for each check, named after it.

A file ``checks/x.py`` holds ``check_x``, which becomes the methods ``check_x`` and ``assert_x`` of
`Audit`, and the function that judges one layer. Every file in this folder is a check: the plugin makes
the fixtures ``assert_x`` out of the names of the files, without importing them. Helpers that checks
share are in `judging`.
"""
