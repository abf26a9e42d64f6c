"""Exports as Spotify sends them, made up: for what must be measured at a size."""
