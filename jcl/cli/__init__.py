"""The command line: flags, one module per command, and what it prints."""
