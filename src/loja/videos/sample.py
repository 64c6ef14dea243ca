"""A test video: `python -m loja.videos.sample out.mp4`."""

import argparse
from pathlib import Path

from loja.settings import ShopSettings
from loja.videos.program import Ffmpeg, locate


def make(target: Path, seconds: float = 5.0, size: str = "640x360") -> None:
    """Write a moving test picture with a tone; raises EncoderBroke."""
    picture = ["-f", "lavfi", "-i", f"testsrc2=duration={seconds}:size={size}:rate=25"]
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    quiet = ["-nostdin", "-hide_banner", "-loglevel", "error"]
    Ffmpeg(locate(ShopSettings().ffmpeg)).run([*quiet, *picture, *sound, *coded, "-y", f"file:{target}"])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m loja.videos.sample", description="Write a test video.")
    parser.add_argument("target", type=Path, help="the file to write, such as out.mp4")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--size", default="640x360", help="width x height")
    given = parser.parse_args()
    make(given.target, given.seconds, given.size)


if __name__ == "__main__":
    main()
