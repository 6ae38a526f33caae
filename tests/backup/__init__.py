"""Backup and restore, with real servers, databases and kills."""
