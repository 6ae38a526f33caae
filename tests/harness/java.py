"""Running the Java client of `tests/clients/java`."""

import shutil
import subprocess
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "clients" / "java" / "target"


def upload(mount: str, file: Path, payload: int, url: str = "") -> tuple[str, str]:
    """One run of tus-java-client, with requests of `payload` bytes; it resumes `url`, where one is given.

    The URL of the upload (empty if it learned none), and why it gave up; empty when it did not.
    """
    java = shutil.which("java")
    assert java, "Java 17 is not installed"
    assert (FOLDER / "classes").is_dir(), "the Java client is not built; `make test` builds it"
    path = f"{FOLDER / 'classes'}:{FOLDER / 'lib'}/*"
    # What the file is called is in Chinese in some tests, and Java reads its arguments in the encoding of the locale.
    command = [
        java,
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        path,
        "Upload",
        mount,
        str(file),
        str(payload),
    ]
    done = subprocess.run(
        [*command, *([url] if url else [])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    lines = done.stdout.splitlines()
    is_done = done.returncode == 0 and lines[-1:] == ["done"]
    return lines[0] if lines else "", "" if is_done else done.stderr or f"code {done.returncode}"
