"""Test-time tuning of a frozen audio-video editor: sound sparks motion."""
