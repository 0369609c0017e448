"""Training in a process that sees neither the harness nor the data of evaluations."""
