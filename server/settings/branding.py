"""Settings of the page's look: name, logo, accent colour, and the operator's own links.

Rule: here is only the form of a value. `web/branding.py` reads the logo and checks the contrast at the start.
"""

from pydantic import BaseModel, Field

_LINK = r"^$|^https?://[^\s\"'<>]+$"


class BrandSettings(BaseModel):
    """What the page, its links and its preview cards are called, and how they look."""

    brand_name: str = Field(
        "Videodock",
        min_length=1,
        max_length=40,
        pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$",
        description="Name that the page, its title, shared videos and their preview cards show.",
    )
    brand_logo: str = Field(
        "",
        description="Path of the logo, an SVG or PNG file of at most 256 KiB; empty is ours. Scripts and references to "
        "other files are taken out of an SVG; a PNG has at most 1024 pixels a side.",
    )
    brand_accent: str = Field(
        "",
        pattern=r"^$|^#[0-9A-Fa-f]{6}$",
        description="Colour of buttons and links, such as `#0f766e`; empty is blue. It needs a contrast of 4.5 on the "
        "light page (WCAG 2.2 AA); the shades for the dark page are made from it.",
    )
    terms_url: str = Field(
        "", pattern=_LINK, description="URL of the terms of use, for a link at the foot of the page; empty is none."
    )
    privacy_url: str = Field(
        "", pattern=_LINK, description="URL of the privacy notice, for a link at the foot of the page; empty is none."
    )
