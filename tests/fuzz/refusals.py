"""The errors that a reader may end with."""

from pix2pix_lightning.utils.errors import UserError


def read_or_refuse(function, *args, **options):
    """What a function returns, or None where it ended with one of the documented errors, in one line."""
    try:
        return function(*args, **options)
    except (UserError, OSError) as error:
        message = str(error)
    assert message
    assert "\n" not in message
    return None
