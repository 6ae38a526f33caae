"""Pure ASGI middleware: access log and metrics, forwarded headers, cross-origin answers."""
