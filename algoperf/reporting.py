"""How long work tells a person where it is."""

from collections.abc import Callable

Report = Callable[[str], None]  # shows one line
