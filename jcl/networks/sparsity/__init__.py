"""Fewer weights: channels taken out, weights held at zero, masks that move."""
