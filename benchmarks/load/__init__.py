"""What benchmarks of the service share: a world, requests, load, and the floors beside it."""
