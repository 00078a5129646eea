"""Metrics: pure functions over arrays and strings, one small module each, numpy only.

Nothing here knows about models, files or tasks, so each function can be checked against an independent
reference.
"""
