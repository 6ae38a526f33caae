"""The version, for all rooms: importing it from `server` would import the application from below."""

__version__ = "0.1.0"
