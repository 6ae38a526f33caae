"""A server process of its own for each test, and the clients that people really use."""
