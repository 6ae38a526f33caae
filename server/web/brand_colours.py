"""The shades of an accent colour, and their contrast on the page.

Rule: each text in the accent, and each text on it, has a contrast of 4.5 or more (WCAG 2.2, success criterion 1.4.3) in
the light and in the dark page. The given colour is used on the light page, or refused; the shades of the dark page
are mixed from it.

The surfaces are those of `page/src/style/tokens.css`; a test compares them.
"""

from collections.abc import Iterator

from server.errors import StartError

LEAST = 4.5
LIGHT = ("#f5f6f8", "#ffffff")
DARK = ("#0f1217", "#181c23")
_ON_LIGHT, _ON_DARK = "#ffffff", "#0b1424"
_STEPS = 50
_SOFT_LIGHT, _SOFT_DARK, _HOVER = 0.08, 0.14, 0.2


def contrast(one: str, other: str) -> float:
    """The contrast of two colours (`#rrggbb`), 1 to 21, by WCAG 2.2."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def stylesheet(accent: str) -> bytes:
    """The style sheet that replaces the accent of the page. Raises `StartError`, which names the contrast."""
    soft = _mix(LIGHT[1], accent, _SOFT_LIGHT)
    least = _least(accent, (*LIGHT, soft, _ON_LIGHT))
    if least < LEAST:
        darker = next((one for one in _shades(accent, "#000000") if _is_legible_on_light(one)), "#000000")
        raise StartError(
            f"The setting brand_accent is {accent!r}, which has a contrast of {int(least * 100) / 100:.2f} on the "
            f"light page; text needs {LEAST} or more. The nearest darker shade that has it is {darker}."
        )
    dark = next(one for one in _shades(accent, "#ffffff") if _is_legible_on_dark(one))
    light_rules = _rules(accent, _mix(accent, "#000000", _HOVER), soft, _ON_LIGHT)
    dark_rules = _rules(dark, _mix(dark, "#ffffff", _HOVER), _mix(DARK[1], dark, _SOFT_DARK), _ON_DARK)
    return f":root{{{light_rules}}}\n@media (prefers-color-scheme:dark){{:root{{{dark_rules}}}}}\n".encode()


def _rules(accent: str, hover: str, soft: str, text: str) -> str:
    return f"--accent:{accent};--accent-hover:{hover};--accent-soft:{soft};--on-accent:{text}"


def _is_legible_on_light(colour: str) -> bool:
    return _least(colour, (*LIGHT, _mix(LIGHT[1], colour, _SOFT_LIGHT), _ON_LIGHT)) >= LEAST


def _is_legible_on_dark(colour: str) -> bool:
    return _least(colour, (*DARK, _mix(DARK[1], colour, _SOFT_DARK), _ON_DARK)) >= LEAST


def _least(colour: str, others: tuple[str, ...]) -> float:
    return min(contrast(colour, other) for other in others)


def _shades(colour: str, end: str) -> Iterator[str]:
    """The colour, then mixtures with ever more of another one, up to that one."""
    return (_mix(colour, end, step / _STEPS) for step in range(_STEPS + 1))


def _mix(one: str, other: str, share: float) -> str:
    """One colour with a share, 0 to 1, of the other."""
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(_parts(one), _parts(other), strict=True))


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (p / 255 for p in _parts(colour))]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
