"""Layouts of files of states that serving engines and people write: one file a layout.

A file ``layouts/x.py`` holds a `Layout`, and `registry.LAYOUTS` a row for it. A layout reads ids and
states of prompts out of one file. It unpickles nothing, checks sizes and shapes before it takes memory,
and refuses what it does not know by name.
"""
