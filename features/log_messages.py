"""The messages that operators search for: SEED.md's five, as templates.

They are logged under `bondhu` with these very templates, so that a search for one finds it whatever
its values are.
"""

SPOTIFY_CLIENT = "Spotify client initialized with user token"
GENERATED_CANDIDATES = "Generated %d candidates for user %s"
PROCESSED_FEEDBACK = "Processed %s feedback with reward %.1f"
CACHED_PLAYS = "Using cached recently played tracks"
RATE_LIMITED = "Rate limited on endpoint, waiting %gs"
