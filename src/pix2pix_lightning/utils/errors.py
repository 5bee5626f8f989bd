"""What stops a command for a reason that is not a bug."""


class UserError(ValueError):
    """Something that the user can fix; the message says in one line what was wrong, the value and the fix.

    Commands print the message and end with status 1, without a traceback. As a ``ValueError`` it is caught by what
    catches those.
    """


class Interrupted(BaseException):
    """The user stopped a command; the message says how to continue."""
