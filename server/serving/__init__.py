"""Processes and sockets: the supervisor of the web processes, and the HTTP protocol class of uvicorn."""
