"""Many edits: tasks, plans, tables and pages of what came out."""
