"""SQL: the truth for everything but the number of bytes."""
