"""Reserved token numbers of every vocabulary of this workload (the defaults of SentencePiece)."""

PADDING = 0  # also the unknown piece
START = 0  # the first input of the decoder
END = 2
