"""The converters: every module here reads one dataset (or a family with one layout) and lists what it offers.

A module's `CONVERTERS` is found by `data_tools.registry`; nothing else has to be told of a new module.
"""
