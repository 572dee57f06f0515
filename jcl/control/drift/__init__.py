"""Systems that label and retrain on a drifting stream; plain Python, no JAX."""
