"""`UserError`: the base of errors that a user can fix. The message is one line: expected, got, what to do."""


class UserError(Exception):
    """An error that a user can fix. Commands print its message without a traceback and exit with a non-zero status."""


class DataError(UserError):
    """Prepared data cannot be read or are damaged; no fault of the submission that was reading them."""
