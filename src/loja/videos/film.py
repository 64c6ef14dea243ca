"""What a video file holds, as `ffmpeg -f framecrc` lists it: counted frame by frame, not believed from a header."""

from dataclasses import dataclass
from fractions import Fraction

from loja.videos.errors import NotAVideo, StillImage, TooLarge
from loja.videos.recipe import Limits

MIN_SIDE = 2
MAX_SIDE = 16_384

_NO_TIME = -(2**63)
"""How ffmpeg writes that a frame has no time of its own."""


@dataclass(frozen=True, slots=True)
class Film:
    """Pictures in a row; `seconds` from the first to the end of the last."""

    codec: str
    width: int
    height: int
    frames: int
    seconds: float


@dataclass(slots=True)
class FrameList:
    """Reads the list line by line; an hour of video has a quarter of a million."""

    codec: str = ""
    size: tuple[int, int] = (0, 0)
    frames: int = 0
    _tick: Fraction = Fraction(1)
    _begin: int | None = None
    _end: int = 0

    def heed(self, line: str) -> None:
        """Take in one line: `#key 0: value`, or `stream, dts, pts, duration, size, checksum, …`."""
        if line.startswith("#"):
            name, _, value = line[1:].partition(" 0: ")
            self._describe(name, value.strip())
        elif line.startswith("0,"):
            self._count([part.strip() for part in line.split(",")])

    def film(self) -> Film:
        """What the lines said."""
        seconds = float((self._end - (self._begin or 0)) * self._tick)
        return Film(self.codec, *self.size, self.frames, round(seconds, 3))

    def _describe(self, name: str, value: str) -> None:
        if name == "codec_id":
            self.codec = value
        elif name == "tb":
            self._tick = Fraction(value)
        elif name == "dimensions":
            width, _, height = value.partition("x")
            self.size = int(width), int(height)

    def _count(self, columns: list[str]) -> None:
        self.frames += 1
        begin, lasts = int(columns[2]), int(columns[3])
        if begin == _NO_TIME:
            return
        self._begin = begin if self._begin is None else min(self._begin, begin)
        self._end = max(self._end, begin + lasts)


def check(film: Film, limits: Limits) -> Film:
    """The film itself; raises Refused if it is not one that the shop publishes."""
    width, height = film.width, film.height
    if not film.frames:
        raise NotAVideo("not a video: it has no pictures")
    if film.frames == 1:
        raise StillImage("it has only one picture: a still image, or a damaged video")
    if not (width and height):
        raise TooLarge(f"pictures of no size, or of far more than {limits.pixels:,} pixels (LOJA_MAX_PIXELS)")
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise TooLarge(f"pictures of {width}x{height}: each side must have {MIN_SIDE} to {MAX_SIDE:,} pixels")
    if width * height > limits.pixels:
        raise TooLarge(f"pictures of {width}x{height}: at most {limits.pixels:,} pixels (LOJA_MAX_PIXELS)")
    if film.seconds > limits.seconds:
        raise TooLarge(f"longer than {limits.seconds:g} seconds (LOJA_MAX_DURATION)")
    return film
