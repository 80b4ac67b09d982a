"""A vision-language model, or anything that answers as one, scores edits side by side."""
