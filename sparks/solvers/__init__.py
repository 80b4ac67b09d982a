"""Searches: each proposes candidates and learns from their evaluations."""
