"""Reserved token numbers of every vocabulary of this workload (the defaults of SentencePiece)."""

START = 0  # the first input of the decoder; also padding and the unknown piece
END = 2
