"""How a request body reaches a file."""
