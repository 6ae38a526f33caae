"""What a transaction has to say after its commit.

Rule: a note belongs to the transaction that runs on this thread, and it is a hint: a lost one only delays its reader.
"""

import threading

_local = threading.local()


def note() -> None:
    """This transaction adds events: tell their readers once it is committed."""
    _local.is_noted = True


def take() -> bool:
    """Whether there was a note since the last call on this thread."""
    noted: bool = getattr(_local, "is_noted", False)
    _local.is_noted = False
    return noted
