"""HTTP: every route."""
