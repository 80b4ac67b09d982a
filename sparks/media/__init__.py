"""Videos and sounds: read, fitted, written."""
