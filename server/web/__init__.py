"""HTTP: every route, each in its room."""
