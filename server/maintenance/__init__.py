"""Upkeep beside a running server: the sweep, retention and the check of database against folders."""
