"""From downloaded datasets (or no data at all: `data_tools.synth`) to checked training and test records.

One module per dataset reads its native layout unchanged; `data_tools.conversion` writes the record files.
Run ``python -m data_tools --help``.
"""
