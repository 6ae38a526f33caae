"""How a failed command ends: a sentence on standard error, and an exit code.

Rule: codes mean the same for all commands: 3 for an unknown id, 4 for a refusal in the current state, 5 for something
damaged or missing.
"""

from typing import Any

import click


class Sentence(click.ClickException):
    """Ends the command with its message alone."""

    def show(self, file: Any = None) -> None:
        """Print the message."""
        click.echo(self.format_message(), err=True, file=file)


class NotThere(Sentence):
    """There is no such task, upload or backup."""

    exit_code = 3


class Refused(Sentence):
    """It is not possible now."""

    exit_code = 4


class Damaged(Sentence):
    """Something is damaged or missing."""

    exit_code = 5
