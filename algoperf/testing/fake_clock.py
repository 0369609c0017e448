"""A clock that moves when it is told to."""


class FakeClock:
    """Seconds that pass by `advance` alone; call it to read it, as `time.monotonic` is.

    Args:
      start_s: first reading.
      tick_s: seconds that every reading lets pass.
    """

    def __init__(self, start_s: float = 0.0, tick_s: float = 0.0) -> None:
        self.now_s = start_s
        self._tick_s = tick_s

    def __call__(self) -> float:
        self.now_s += self._tick_s
        return self.now_s

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds} s")
        self.now_s += seconds

    sleep = advance
