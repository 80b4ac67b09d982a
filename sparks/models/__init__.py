"""Which weights there are, where, of what size, and what this machine can hold."""
