"""What the user said: settings, where they come from, and how mistakes in them are told."""
