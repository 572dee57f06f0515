"""A live learner for those who write no Python: HTTP, a page, a folder."""
