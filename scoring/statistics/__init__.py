"""How sure the numbers of a board are."""
