"""Serving a stream while the model that serves it is retrained."""
