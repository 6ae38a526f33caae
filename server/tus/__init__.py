"""The tus protocol, pure: no I/O, no clock, no database."""
