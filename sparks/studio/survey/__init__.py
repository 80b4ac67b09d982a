"""A study of people: what they see, what they answer, and what becomes of it."""
