"""Videodock: a self-hosted video upload server.

The public surface is `create_app` and `Settings`; both are imported on first use, so that
`import server` stays cheap for the command line.
"""

from typing import TYPE_CHECKING

from server.version import __version__ as __version__

if TYPE_CHECKING:
    from server.app import create_app as create_app
    from server.settings import Settings as Settings

__all__ = ["Settings", "__version__", "create_app"]


def __getattr__(name: str) -> object:
    if name == "create_app":
        from server.app import create_app

        return create_app
    if name == "Settings":
        from server.settings import Settings

        return Settings
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
