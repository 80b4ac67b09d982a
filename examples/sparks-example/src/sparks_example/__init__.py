"""A critic and a solver for sparks."""
