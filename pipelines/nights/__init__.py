"""Nights: which are due, one at a time, step by step, and how each ended."""
