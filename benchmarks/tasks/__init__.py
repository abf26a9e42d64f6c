"""The tasks of `bench-quality`: data, splits, what is hidden, and who is asked."""
