"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """A mistake in what the user gave: one sentence that names the thing and the remedy.

    The command line prints it without a traceback and exits with status 2; a notebook
    shows the sentence. Never raised for a fault of the course's own code.
    """
