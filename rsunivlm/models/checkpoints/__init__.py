"""Foreign weight layouts, one adapter each; the only place that knows foreign key names."""
