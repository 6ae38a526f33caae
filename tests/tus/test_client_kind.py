"""The kind of client, by headers that clients really send."""

import pytest

from server.tus.client_kind import client_kind


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        (None, None),
        ("", None),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0 Safari/537.36",
            "browser",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148", "mobile_browser"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Chrome/131.0 Mobile", "mobile_browser"),
        ("MyApp/12 CFNetwork/1568.100.1 Darwin/24.0.0", "ios"),
        ("okhttp/4.12.0", "android"),
        ("Dalvik/2.1.0 (Linux; U; Android 14; Pixel 8 Build/AP2A)", "android"),
        ("Java/21.0.5", "java"),
        ("curl/8.11.0", "curl"),
        ("python-requests/2.32.3", "python"),
        ("python-httpx/0.28.1", "python"),
        ("Python/3.12 aiohttp/3.11.7", "python"),
        ("node", "node"),
        ("undici", "node"),
        ("axios/1.7.7", "node"),
        ("Go-http-client/1.1", "go"),
        ("videodock-doctor", "doctor"),
        ("Acme Camera 3", "other"),
        ("\x00" * 100_000, "other"),
    ],
)
def test_a_header_tells_the_kind(agent: str | None, kind: str | None) -> None:
    """One word of at most 16 characters, which is the length of the column."""
    assert client_kind(agent) == kind
    assert len(client_kind(agent) or "") <= 16
