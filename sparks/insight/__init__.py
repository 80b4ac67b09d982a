"""Looking inside edits: where text and sound act, and how tuned controls lie to one another."""
