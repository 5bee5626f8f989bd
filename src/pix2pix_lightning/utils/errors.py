"""What stops a command for a reason that is not a bug."""


class Interrupted(BaseException):
    """The user stopped a command; the message says how to go on."""
