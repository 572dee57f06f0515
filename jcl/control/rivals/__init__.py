"""Published rules of when, what and how much to train; plain Python, no JAX."""
