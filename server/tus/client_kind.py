"""Which kind of client sends an upload, by its User-Agent.

Rule: one word of a short list, for reports. The header itself is not stored: it may tell who somebody is. No decision
depends on it.
"""

OTHER = "other"
DOCTOR = "doctor"
"""A visit of `videodock doctor --url`, which reports do not count; it never has all its bytes."""

# The first that the header has, in lower case. What runs in a browser sends the browser's name.
_MARKS = (
    ("videodock-doctor", DOCTOR),
    ("cfnetwork", "ios"),  # NSURLSession, as TUSKit uses it
    ("darwin/", "ios"),
    ("okhttp", "android"),
    ("dalvik", "android"),
    ("java/", "java"),
    ("curl/", "curl"),
    ("python", "python"),
    ("aiohttp", "python"),
    ("httpx", "python"),
    ("node", "node"),
    ("undici", "node"),
    ("axios", "node"),
    ("go-http-client", "go"),
    ("tusd", "go"),
)
_MOBILE = ("mobile", "android", "iphone", "ipad")


def client_kind(user_agent: str | None) -> str | None:
    """`browser`, `mobile_browser`, `ios`, `android`, `java`, `node`, `python`, `go`, `curl`, `doctor` or `other`; None
    without the header. At most 16 characters."""
    if not user_agent:
        return None
    agent = user_agent[:512].lower()
    if agent.startswith("mozilla/"):
        return "mobile_browser" if any(word in agent for word in _MOBILE) else "browser"
    return next((kind for mark, kind in _MARKS if mark in agent), OTHER)
