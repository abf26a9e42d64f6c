"""When things happen: commands and flows that call the floors below, without arithmetic."""
