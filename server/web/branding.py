"""The operator's brand on the page: its name, logo, accent and links, in the document and as files.

Rule: all of it is read and checked at the start. The document has it, so that nothing changes place or colour after the
first paint; with the default settings the document stays as the build made it, byte for byte.
"""

import hashlib
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from server.settings import Settings
from server.web import brand_colours, brand_logo

DEFAULT_NAME = "Videodock"
_ACCENT = "#2563eb"  # of page/src/style/tokens.css
_CSS = "text/css; charset=utf-8"


@dataclass(frozen=True)
class BrandFile:
    """A file at `/page/<name>`."""

    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True, kw_only=True)
class Brand:
    """What the settings make of the page."""

    name: str = DEFAULT_NAME
    accent: str = _ACCENT
    terms_url: str = ""
    privacy_url: str = ""
    logo: BrandFile | None = None
    ratio: float = 1.0
    style: BrandFile | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Brand":
        """The brand of the settings. Raises `StartError` for a logo or a colour that cannot be used."""
        logo = brand_logo.read(Path(settings.brand_logo)) if settings.brand_logo else None
        accent = settings.brand_accent.lower()
        return cls(
            name=settings.brand_name,
            accent=accent or _ACCENT,
            terms_url=settings.terms_url,
            privacy_url=settings.privacy_url,
            logo=None if logo is None else _file(logo.suffix, logo.content, logo.media_type),
            ratio=1.0 if logo is None else round(logo.ratio, 3),
            style=_file(".css", brand_colours.stylesheet(accent), _CSS) if accent else None,
        )

    @property
    def files(self) -> tuple[BrandFile, ...]:
        """What the page loads of it."""
        return tuple(file for file in (self.logo, self.style) if file is not None)

    def as_config(self) -> Mapping[str, object]:
        """What `/api/config` tells of it. `logo` is relative to the server's address."""
        return {
            "name": self.name,
            "accent": self.accent,
            "logo": None if self.logo is None else f"page/{self.logo.name}",
            "terms_url": self.terms_url or None,
            "privacy_url": self.privacy_url or None,
        }

    def dress(self, document: bytes) -> bytes:
        """The document with the brand in it."""
        if self == Brand():
            return document
        text = document.decode()
        known = json.dumps({**self.as_config(), "ratio": self.ratio}, ensure_ascii=False)
        text = text.replace("<html ", f'<html data-brand="{html.escape(known)}" ', 1)
        text = text.replace(f"<title>{DEFAULT_NAME}</title>", f"<title>{html.escape(self.name)}</title>", 1)
        # The icon is drawn in a data URL, or it is the logo.
        if self.logo is not None:
            before, _, rest = text.partition('<link rel="icon" href="')
            text = f'{before}<link rel="icon" href="page/{self.logo.name}"{rest.partition(chr(34))[2]}'
        text = text.replace(_ACCENT.replace("#", "%23"), self.accent.replace("#", "%23"))
        if self.style is not None:
            text = text.replace("</head>", f'<link rel="stylesheet" href="page/{self.style.name}">\n</head>', 1)
        text = text.replace('<main class="plain">', f'<main class="plain">\n      {self.head()}', 1)
        return text.replace("</main>\n  </noscript>", f"{self.foot()}</main>\n  </noscript>", 1).encode()

    def head(self) -> str:
        """Logo and name, for pages without a script. Its addresses are relative to the server's."""
        logo = "" if self.logo is None else f'<img class="mark is-logo" src="page/{self.logo.name}" alt="" height="26">'
        return f'<p class="brand">{logo}<span>{html.escape(self.name)}</span></p>'

    def foot(self) -> str:
        """The links in both languages, for pages without a script; nothing without links."""
        links = ((self.terms_url, "Terms · 使用条款"), (self.privacy_url, "Privacy · 隐私政策"))
        shown = [f'<a href="{html.escape(url)}">{words}</a>' for url, words in links if url]
        return f'<p class="foot">{" ".join(shown)}</p>' if shown else ""


def _file(suffix: str, content: bytes, media_type: str) -> BrandFile:
    # As the files of the build: the name has the hash of the content, so browsers keep it for a year.
    return BrandFile(f"brand-{hashlib.sha256(content).hexdigest()[:8].upper()}{suffix}", content, media_type)
