"""The bytes of uploads and results."""
