"""Two-stage training: recipes, what each stage trains, the trainer and the published result."""
