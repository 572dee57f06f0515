"""Trained models in use: predictions, in memory and from a file."""
