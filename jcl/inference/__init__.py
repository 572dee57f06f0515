"""What is trained, as others use it: predictions, in memory and from a file."""
