"""Settings of notifications: webhooks and Python hooks."""

import re
from typing import Literal

from pydantic import BaseModel, Field, field_validator


class EventSettings(BaseModel):
    """The public address, webhooks and hooks."""

    public_url: str = Field(
        "",
        description="The URL under which others reach this server, with its prefix and without a slash at its end, "
        "such as `https://videos.example.org`. URLs in webhooks and for hooks begin with it; empty: they are paths.",
    )
    webhook_allow_private: Literal["off", "on"] = Field(
        "off",
        description="Whether webhooks may be sent to addresses of this machine and of private networks, and without "
        "TLS and a warning; `on` lets everybody who may add a webhook reach them.",
    )
    hook_time_limit: float = Field(
        60, gt=0, description="Seconds that a call of the Python hooks `post_finish` and `post_task` may take."
    )
    pre_create_time_limit: float = Field(
        2,
        gt=0,
        le=60,
        description="Seconds that the Python hooks `pre_create` may take together for one creation; meanwhile its "
        "client waits.",
    )
    pre_create_failure: Literal["allow", "refuse"] = Field(
        "allow",
        description="What happens to a creation when a hook `pre_create` fails, or takes too long: `allow` lets it go "
        "on and writes a log line, `refuse` answers 503.",
    )

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", value):
            raise ValueError("it must be a URL such as https://videos.example.org")
        return value.rstrip("/")
