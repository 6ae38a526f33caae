"""What runs in a child process. A job reads a hostile file and may die; it imports no database and no web."""
