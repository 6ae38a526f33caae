"""What an operator does with tasks and uploads, beside a running server.

Rule: here are only the commands of other modules' moves, and how rows are shown. Whatever is changed is changed by the
same functions, under the same locks, as by a request.
"""

from server.operator_commands.commands import add_to

__all__ = ["add_to"]
