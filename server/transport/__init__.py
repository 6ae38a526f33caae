"""The way of a request body into a file."""
