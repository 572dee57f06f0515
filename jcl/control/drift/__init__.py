"""Labelling and retraining on a drifting stream, on a host clock of its own."""
