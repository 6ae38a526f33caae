"""What runs in a child process. A job reads a hostile file and may die; it imports no database and no web.

Rule: each step waits for what its child imports, so a job imports no settings and no log either. import-linter checks
it.
"""

LIBRARY, PROGRAM = "library", "program"
"""Values of a job's argument `by`: with PyAV, or with FFmpeg's program alone (`sandbox/fallback.py`)."""
