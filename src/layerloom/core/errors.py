"""The one exception that means "the user can mend this"."""


class LayerloomError(Exception):
    """Bad input or usage. The message is one line: what is wrong, where, and what is allowed.

    The command line prints it without a traceback and exits with 2.
    """
