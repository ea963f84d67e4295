"""The checks of an audit, one file a check, named as the check is.

A file ``checks/x.py`` holds ``check_x``, which becomes the methods ``check_x`` and ``assert_x`` of
`Audit`, and the function that judges one layer. Every file in this folder is a check: the plugin makes
the fixtures ``assert_x`` out of the names of the files, without importing them. What checks share is in
`judging`.
"""
