"""Metrics: pure functions over arrays and strings, one small module each.

They need numpy and, where a module says so, the field's own scorer (pycocoevalcap, pycocotools). Nothing here
knows about models, files or tasks, so each function can be checked against an independent reference.
"""
