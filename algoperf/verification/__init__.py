"""Another look at a finished trial: its checkpoints are evaluated again, and its first steps are taken again."""
