"""Parts of `make bench-training`."""
