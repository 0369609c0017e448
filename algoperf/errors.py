"""The base of every error that a user can mend. Its message is one line: expected, got, what to do."""


class UserError(Exception):
    """Shown without a traceback; the command ends with a non-zero exit status."""
