"""Metrics of an edit beside its source; each is a plugin."""
