"""The one exception that a user of the command sees as a single line."""


class UserError(ValueError):
    """What was given, what is allowed and what to do, in one line; the command prints it and exits with status 2."""
