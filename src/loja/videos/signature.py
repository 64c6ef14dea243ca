"""What the first bytes of an upload give away, so that it can be refused in words that help.

Not what keeps ffmpeg from opening it: that is the list of formats in `recipe`.
"""

import re

from loja.videos.errors import NoPicture, NotAVideo, Refused, StillImage

HEAD = 64
"""Bytes that are looked at."""

_IMAGE = re.compile(
    rb"\x89PNG\r\n|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*|8BPS"
    rb"|....ftyp(?:heic|heix|hevc|hevx|mif1|msf1|avif|avis)|<svg",
    re.DOTALL,
)
_SOUND = re.compile(rb"ID3|\xff[\xfb\xf3\xf2\xf1\xf9]|fLaC|RIFF....WAVE|FORM....AIF|#!AMR|\.snd", re.DOTALL)
_PLAYLIST = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:#EXTM3U|ffconcat|\[playlist\]|<\?xml[^>]*>\s*<MPD|<MPD|v=0\r?\n)")


_KINDS: tuple[tuple[re.Pattern[bytes], type[Refused], str], ...] = (
    (_IMAGE, StillImage, "a still image, not a video"),
    (_SOUND, NoPicture, "it has no video stream, only sound"),
    (_PLAYLIST, NotAVideo, "a playlist, not a video"),
)


def refuse(head: bytes) -> None:
    """Raise Refused for the beginning of what is certainly no video."""
    for pattern, error, reason in _KINDS:
        if pattern.match(head):
            raise error(reason)
