"""What a participant brings: loading and checking submissions, their sources, hyperparameter points."""
