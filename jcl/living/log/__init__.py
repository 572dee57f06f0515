"""Learning from data that arrives when it arrives, kept in one folder."""
