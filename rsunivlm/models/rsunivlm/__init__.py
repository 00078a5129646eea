"""The RSUniVLM family: configuration, model, processor, experts, upcycling."""
