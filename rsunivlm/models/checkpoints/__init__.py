"""Checkpoints: reading our own, and an adapter per foreign layout; only here are foreign key names known."""
