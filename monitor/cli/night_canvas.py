"""Pillow behind one door: a picture to draw on, in points, with smooth edges."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from monitor.errors import ConfigError

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

Point = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""

SIGNATURE: Final = ("Software", "Cradlewatch")
"""What a picture of ours says of itself."""
_FINER: Final = 3
"""Drawn so many times larger and then reduced: Pillow's own lines have hard edges."""


class Canvas:
    """``width`` by ``height`` points. Raises ConfigError when Pillow is not installed."""

    def __init__(self, width: int, height: int, background: str) -> None:
        try:
            from PIL import Image, ImageDraw, ImageFont, PngImagePlugin  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(
                "A picture needs the library Pillow, which is not installed.",
                "Install the extra: pip install 'cradlewatch[picture]'. Tables and --json do without.",
            ) from error
        self._size = (width, height)
        self._fonts = ImageFont
        self._reduce = Image.Resampling.LANCZOS
        self._image = Image.new("RGB", (width * _FINER, height * _FINER), background)
        self._draw = ImageDraw.Draw(self._image, "RGBA")
        self._loaded: dict[float, Any] = {}
        self._signature = PngImagePlugin.PngInfo()
        self._signature.add_text(*SIGNATURE)

    def box(self, box: Box, fill: str, *, radius: float = 0) -> None:
        """At least a hair wide, so that what was short is seen."""
        left, top, right, bottom = box
        right = max(right, left + 1.0)
        scaled = tuple(_FINER * value for value in (left, top, right, bottom))
        self._draw.rounded_rectangle(scaled, radius * _FINER, fill)

    def line(self, points: Sequence[Point], colour: str, width: float = 1.0) -> None:
        if len(points) > 1:
            self._draw.line(_scaled(points), colour, max(1, round(width * _FINER)), joint="curve")

    def area(self, points: Sequence[Point], fill: str) -> None:
        if len(points) > 2:
            self._draw.polygon(_scaled(points), fill)

    def text(
        self,
        at: Point,
        text: str,
        colour: str,
        size: float,
        *,
        anchor: Literal["ls", "ms", "rs", "lm", "mm", "rm"] = "ls",
    ) -> None:
        """``anchor``: left, middle or right; on the base line or centred on the height."""
        self._draw.text((at[0] * _FINER, at[1] * _FINER), text, colour, self._font(size), anchor)

    def width_of(self, text: str, size: float) -> float:
        return float(self._draw.textlength(text, self._font(size))) / _FINER

    def png(self) -> bytes:
        """The picture as PNG, with a note of who has drawn it."""
        picture = io.BytesIO()
        self._image.resize(self._size, self._reduce).save(
            picture, "PNG", optimize=True, pnginfo=self._signature
        )
        return picture.getvalue()

    def _font(self, size: float) -> FreeTypeFont:
        if size not in self._loaded:
            self._loaded[size] = self._fonts.load_default(size * _FINER)
        font: FreeTypeFont = self._loaded[size]
        return font


def _scaled(points: Sequence[Point]) -> list[Point]:
    return [(x * _FINER, y * _FINER) for x, y in points]
