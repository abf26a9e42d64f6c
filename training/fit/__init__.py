"""The fits: arrays and histories in, models out; nothing here knows where either is kept."""
