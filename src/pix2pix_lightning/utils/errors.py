"""What stops a command for a reason that is not a bug."""

CTRL_C_STATUS, RESUMABLE_STATUS = 130, 75
"""Exit status after Ctrl-C, and after another signal: 75 is EX_TEMPFAIL, "try again", of sysexits.h."""


class UserError(ValueError):
    """Something that the user can fix; the message says in one line what was wrong, the value and the fix.

    Commands print the message and end with status 1, without a traceback. As a ``ValueError`` it is caught by what
    catches those.
    """


class Interrupted(BaseException):
    """A command was stopped by Ctrl-C or a signal; the message says how to continue.

    Args:
        message: How to continue.
        status: Exit status of the command.
    """

    def __init__(self, message: str = "", status: int = CTRL_C_STATUS) -> None:
        super().__init__(message)
        self.status = status
