"""The Firefox of Debian, driven by the same scripts as Chromium.

Rule: it is the Firefox that people have. WebDriver BiDi drives it; Playwright's own build cannot be had from a package.
"""

import shutil
from pathlib import Path

from tests.harness import chromium
from tests.harness.node import NodeClient


def drive(program: str, folder: Path, **options: object) -> NodeClient:
    """Run a driver with its options in Firefox; ended with the `with` block at the latest."""
    found = shutil.which("firefox-esr") or shutil.which("firefox")
    assert found, "Firefox is not installed; `make test` installs it"
    return chromium.drive(program, folder, firefox=found, **options)
