"""The command `videodock`: one module a group of commands."""
