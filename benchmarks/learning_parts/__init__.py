"""The parts of `benchmarks.learning`: each returns rows."""
