"""Two tiers of replayed samples: few in memory, all of them in storage."""
