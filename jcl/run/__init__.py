"""One run, from its parts to its folder and its records."""
