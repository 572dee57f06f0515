"""Fast convolutions for CPUs."""
