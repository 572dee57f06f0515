"""Networks with fewer weights: taken out for good, held at zero, or moving."""
