"""Trains a network: from a config to a directory with checkpoints and results."""
