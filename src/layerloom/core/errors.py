"""The one exception that means "the user can mend this"."""


class LayerloomError(Exception):
    """Bad input or usage. The message is one line: what is wrong, where, and what is allowed.

    `parameters` names what the caller could say otherwise to mend it, as the functions' own parameters are called. The
    command line prints the message without a traceback, adds its names for these, and exits with 2.
    """

    def __init__(self, message: str, *parameters: str) -> None:
        super().__init__(message)
        self.parameters = parameters
