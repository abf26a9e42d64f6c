"""Measurements: `make bench-NAME` prints a table and writes benchmarks/results/NAME.json.

They measure what a user meets, beside peers or a floor taken in the same run, and say which target
was met. Nothing here is imported by the product.
"""
