"""A learner that lives: data arrives when it arrives, and power may fail."""
