"""`sparks studio`: make edits, watch them, pick by eye."""
