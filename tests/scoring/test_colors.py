"""Colours of submissions: enough of them, and legible on both backgrounds."""

import numpy as np
import pytest

from scoring.colors import ON_BLACK, ON_WHITE


@pytest.mark.parametrize(("colors", "background"), [(ON_WHITE, "#FFFFFF"), (ON_BLACK, "#0D1117")])
def test_twenty_entrants_have_twenty_legible_colours(colors: tuple[str, ...], background: str) -> None:
    assert len(set(colors)) == len(colors) == 20
    assert min(contrast(color, background) for color in colors) >= 3  # WCAG 2.2, 1.4.11: graphical objects


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
