"""The server without a model of its own: it sends each question to the engine that serves its expert."""
