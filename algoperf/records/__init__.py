"""What a run leaves behind, and how to read it: the only door between training and scoring."""
