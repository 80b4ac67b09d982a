"""Edits of several methods side by side: laid out, measured, judged, tested, shown."""
