"""The queue of tasks, as rows."""
