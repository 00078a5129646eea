"""Smaller checkpoints out of trained ones: one expert, the average, low-rank experts, int8 weights."""
