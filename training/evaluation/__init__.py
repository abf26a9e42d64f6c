"""What a model is worth: metrics with their intervals, off-policy values, leaks and mismatches."""
