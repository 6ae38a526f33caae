"""The jobs of child processes. A job reads a hostile file and may die; it imports no database and no web.

Rule: each step waits for its child's imports, so a job imports no settings and no log either. import-linter checks
it.
"""

LIBRARY, PROGRAM = "library", "program"
"""Values of a job's argument `by`: with PyAV, or with FFmpeg's program alone (`sandbox/fallback.py`)."""
