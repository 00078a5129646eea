"""Models: vision towers, the connector and the model families, known to transformers' Auto classes."""
