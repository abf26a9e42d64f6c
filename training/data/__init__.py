"""What is learned from: histories, holdouts and impressions, as of their moments."""
