"""The schema's history, on every database."""
