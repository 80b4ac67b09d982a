"""Tuned controls in other people's hands: formats they open, a card, and the way back."""
