"""Records, mixtures and batches: the way from files to what the model sees.

Import the modules directly (`rsunivlm.data.records`, `rsunivlm.data.mixtures`): those two need no torch, so
that converters and evaluation stay light.
"""
