"""The steps of a task's file, as the worker sees them."""
