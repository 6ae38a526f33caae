"""What tests share: a real server process, a real PostgreSQL, real clients, a connection that breaks."""
