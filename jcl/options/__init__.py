"""Options as people write them: name:option=value, and kinds of values."""
