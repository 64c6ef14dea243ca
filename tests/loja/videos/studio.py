"""Makes the files that the tests upload, with a real ffmpeg."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from loja.settings import ShopSettings
from loja.videos.program import locate

FFMPEG = locate(ShopSettings().ffmpeg)
SOUND = ("-f", "lavfi", "-i", "sine=frequency=440")


def ffmpeg(*arguments: str | Path) -> str:
    """Run it; what it says. AssertionError if it fails."""
    command = [FFMPEG, "-nostdin", "-hide_banner", "-y", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def picture(seconds: float = 1, size: str = "160x120") -> list[str]:
    """Input arguments for a moving test picture."""
    return ["-f", "lavfi", "-i", f"testsrc=duration={seconds}:size={size}:rate=25"]


@dataclass(frozen=True)
class Studio:
    """A folder with the files that were asked for."""

    folder: Path

    def clip(self, name: str = "clip.mp4", seconds: float = 1, size: str = "160x120") -> Path:
        """A small video with sound."""
        coded = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "35", "-pix_fmt", "yuv420p", "-shortest")
        return self._made(name, *picture(seconds, size), *SOUND, *coded)

    def long(self) -> Path:
        """Five minutes, which take seconds to encode."""
        clip = self.clip("long-clip.mp4", 2)
        return self._made("long.mkv", "-stream_loop", "149", "-i", clip, "-map", "0:v", "-c", "copy")

    def sound(self) -> Path:
        return self._made("sound.m4a", *SOUND, "-t", "1")

    def cover(self) -> Path:
        """Sound with a picture of its cover."""
        attached = ("-map", "0", "-map", "1", "-c:v", "mjpeg", "-frames:v", "1", "-disposition:v:0", "attached_pic")
        return self._made("cover.m4a", *SOUND, *picture(), *attached, "-t", "1")

    def still(self, name: str) -> Path:
        """A picture of 8K."""
        return self._made(name, *picture(size="7680x4320"), "-frames:v", "1")

    def one_frame(self) -> Path:
        return self._made("one.mp4", *picture(), "-frames:v", "1", "-pix_fmt", "yuv420p")

    def odd(self) -> Path:
        """Odd sides, wider than what is published, no sound, colours in full."""
        return self._made("odd.mkv", *picture(1, "1501x301"), "-c:v", "ffv1", "-pix_fmt", "yuv444p")

    def text(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        return path

    def cut(self) -> Path:
        """A video of which half has arrived."""
        path = self.folder / "cut.mp4"
        whole = self.clip().read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        return path

    def _made(self, name: str, *arguments: str | Path) -> Path:
        path = self.folder / name
        if not path.exists():
            ffmpeg(*arguments, path)
        return path
