"""From an upload to a video and a picture that browsers show."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from loja.settings import ShopSettings
from loja.videos import recipe, signature
from loja.videos.errors import EncoderBroke, Refused
from loja.videos.film import Film, FrameList, check
from loja.videos.program import Ffmpeg, locate
from loja.videos.recipe import Limits

Report = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class Encoder:
    """ffmpeg, with what uploads may have."""

    ffmpeg: Ffmpeg
    limits: Limits

    @classmethod
    def of(cls, settings: ShopSettings) -> Self:
        """As the settings say; raises FfmpegMissing."""
        return cls(Ffmpeg(locate(settings.ffmpeg)), Limits(settings.max_pixels, settings.max_duration))

    def probe(self, source: Path) -> Film:
        """What an upload holds; raises Refused if the shop does not take it."""
        with source.open("rb") as stream:
            signature.refuse(stream.read(signature.HEAD))
        return check(self._survey(source), self.limits)

    def encode(self, source: Path, target: Path, report: Report) -> Film:
        """Write the video; what it holds then. `report` gets milliseconds. Raises Refused, EncoderBroke."""
        progress = Progress(self.probe(source), report)
        self.ffmpeg.run(recipe.encoding(source, target, self.limits), progress.heed)
        with _whose_file_is_ours():
            return self._survey(target)

    def thumbnail(self, video: Path, target: Path, film: Film) -> None:
        """Write a picture from the first tenth of a video of our own; raises EncoderBroke."""
        with _whose_file_is_ours():
            self.ffmpeg.run(recipe.thumbnail(video, target, film.seconds / 10))

    def _survey(self, source: Path) -> Film:
        frames = FrameList()
        self.ffmpeg.run(recipe.probing(source, self.limits), frames.heed)
        return frames.film()


@contextmanager
def _whose_file_is_ours() -> Iterator[None]:
    """What is wrong with a file that we have written is not the fault of the upload."""
    try:
        yield
    except Refused as error:
        raise EncoderBroke(f"what was encoded cannot be used: {error}") from error


@dataclass(frozen=True, slots=True)
class Progress:
    """Turns what `ffmpeg -progress` prints into reports."""

    film: Film
    report: Report

    def heed(self, line: str) -> None:
        """Take in one line of `key=value`."""
        name, _, value = line.strip().partition("=")
        if name == "out_time_us" and value.isdigit():
            total = round(self.film.seconds * 1000)
            done = min(int(value) // 1000, total)
            self.report(done, total, f"encoded {done / 1000:.1f} of {total / 1000:.1f} seconds")
