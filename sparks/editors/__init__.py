"""Frozen generators that edit a clip under the tuned controls."""
