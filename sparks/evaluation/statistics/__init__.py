"""Votes, rankings and scores to figures with intervals, tests and agreement."""
