"""A run: from a config to a trained network in a directory."""
