"""Text colours have the contrast of WCAG AA (4.5 to 1), in light and dark."""

import re

import pytest

from api.console.ui.rendering import STATIC

AA = 4.5
TONES = ("bad", "busy", "good", "wait", "quiet")
BACKGROUNDS = ("paper", "surface", "sunken", "hover")
PAIRS = (
    *((ink, background) for ink in ("ink", "ink-2", "ink-3") for background in BACKGROUNDS),
    *((tone, f"{tone}-soft") for tone in TONES),
    *((tone, "surface") for tone in TONES),
    *((tone, "paper") for tone in TONES),
    ("accent", "surface"),
    ("accent", "paper"),
    ("on-accent", "accent"),
    ("on-accent", "accent-hover"),
)


def schemes() -> dict[str, dict[str, str]]:
    """The named colours of each scheme, as six hexadecimal digits."""
    light, dark = re.findall(r":root \{(.*?)\}", (STATIC / "console.css").read_text(), re.DOTALL)
    return {"light": named(light), "dark": named(dark)}


def named(block: str) -> dict[str, str]:
    found = re.findall(r"--([a-z0-9-]+): #([0-9a-f]{3,6});", block)
    return {
        name: digits if len(digits) == 6 else "".join(digit * 2 for digit in digits)
        for name, digits in found
    }


def luminance(colour: str) -> float:
    shares = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "background"), PAIRS, ids=lambda name: str(name))
def test_text_has_enough_contrast(scheme: str, text: str, background: str) -> None:
    colours = schemes()[scheme]
    brighter, darker = sorted(
        (luminance(colours[text]), luminance(colours[background])), reverse=True
    )

    assert (brighter + 0.05) / (darker + 0.05) >= AA
