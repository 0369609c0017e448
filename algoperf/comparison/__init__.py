"""Which of two training algorithms reaches the targets of the minis sooner: pairs of runs until that is decided."""
