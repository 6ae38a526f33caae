"""tuspyserver as the alternative engine, and the guard in front of it."""
