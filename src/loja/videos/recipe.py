"""How ffmpeg is called: lists of arguments, never a shell.

What is read is a stranger's file, so each call names the only protocols and container formats that may be opened: a
playlist would otherwise make ffmpeg read other files of this machine, or the network.
"""

from dataclasses import dataclass
from pathlib import Path

FORMATS = "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,mxf,dv"
TAKEN = "MP4, MOV, MKV, WebM, AVI, MPEG, FLV, WMV, Ogg, MXF and DV"
"""The same in the words of users."""
MAX_WIDTH = 1280
THUMBNAIL_WIDTH = 320

_THREADS = "2"
_QUIET = ["-nostdin", "-hide_banner", "-loglevel", "error"]
_HEIGHT = "h='max(2,trunc(ow*ih/iw/2+0.5)*2)'"
_EVEN = f"scale=w='max(2,trunc(min({MAX_WIDTH},iw)/2)*2)':{_HEIGHT},setsar='if(between(sar,0.98,1.02),1,sar)'"
"""H.264 with 4:2:0 colours has no odd sides. What that rounds does not make the pixels oblong."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upload may have: pixels of one picture, and seconds."""

    pixels: int
    seconds: float

    @property
    def cut(self) -> str:
        """Where reading stops: past the limit, so that what reaches it is seen to be too long."""
        return f"{self.seconds + 1:.3f}"


def probing(source: Path, limits: Limits) -> list[str]:
    """Print one line for each frame of the first video stream, without decoding it."""
    output = ["-map", "0:V:0", "-c", "copy", "-t", limits.cut, "-f", "framecrc", "pipe:1"]
    # Above the limit, so that what is above it can be told its size.
    return [*_reading(source, 4 * limits.pixels), *output]


def encoding(source: Path, target: Path, limits: Limits) -> list[str]:
    """Re-encode to what every browser plays, and print the progress."""
    picture = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-pix_fmt", "yuv420p", "-fpsmax", "60"]
    sound = ["-c:a", "aac", "-b:a", "128k", "-ac", "2"]
    # Capital V: a cover picture is no video. What the file says about itself (a place, a name) is nobody's business.
    chosen = ["-map", "0:V:0", "-map", "0:a:0?", "-sn", "-dn", "-map_metadata", "-1", "-map_chapters", "-1"]
    written = ["-t", limits.cut, "-movflags", "+faststart", "-f", "mp4", "-y", f"file:{target}"]
    return [
        *["-max_error_rate", "0.1", "-stats_period", "0.25", "-progress", "pipe:1", "-filter_threads", _THREADS],
        *_reading(source, limits.pixels),
        *[*chosen, "-vf", _EVEN, *picture, "-threads", _THREADS, *sound, *written],
    ]


def thumbnail(source: Path, target: Path, seconds: float) -> list[str]:
    """Write the most telling one of the frames from there on as a JPEG."""
    chosen = ["-map", "0:V:0", "-frames:v", "1", "-vf", f"thumbnail=25,scale=w='min({THUMBNAIL_WIDTH},iw)':{_HEIGHT}"]
    written = ["-c:v", "mjpeg", "-q:v", "4", "-f", "image2", "-update", "1", "-y", f"file:{target}"]
    return [*_QUIET, "-threads", _THREADS, "-ss", f"{seconds:.3f}", "-i", f"file:{source}", *chosen, *written]


def _reading(source: Path, pixels: int) -> list[str]:
    allowed = ["-protocol_whitelist", "file,pipe", "-format_whitelist", FORMATS]
    # The header of a file may lie: this is looked at again for each picture, before memory is taken for it.
    bounded = ["-max_pixels", str(pixels), "-threads", _THREADS]
    return [*_QUIET, *allowed, *bounded, "-i", f"file:{source}"]
