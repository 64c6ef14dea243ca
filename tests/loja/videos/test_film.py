"""What ffmpeg lists, and what the shop takes."""

import pytest

from loja.videos.errors import NotAVideo, Refused, StillImage, TooLarge
from loja.videos.film import Film, FrameList, check
from loja.videos.recipe import Limits

LISTED = """#extradata 0:       41, 0x1c5f0c36
#software: Lavf63.1.102
#tb 0: 1/12800
#media_type 0: video
#codec_id 0: h264
#dimensions 0: 160x120
#sar 0: 1/1
0,      -1024,          0,      512,     4734, 0x17cc5c91, S=1, Quality stats, 8, 0x05ec00be
0,       -512,       1024,      512,     1180, 0xee4d3fdc, F=0x0
0,          0,        512,      512,     1264, 0xcc99441f, F=0x0
0,        512, -9223372036854775808,  512,     1264, 0xcc99441f, F=0x0
"""
LIMITS = Limits(pixels=1_000_000, seconds=10)


def film(**changes: object) -> Film:
    values: dict[str, object] = {"codec": "h264", "width": 160, "height": 120, "frames": 25, "seconds": 1.0}
    return Film(**(values | changes))  # type: ignore[arg-type]


def test_a_list_of_frames_tells_codec_size_frames_and_duration() -> None:
    frames = FrameList()
    for line in LISTED.splitlines():
        frames.heed(line)
    assert frames.film() == Film("h264", 160, 120, 4, 0.12)


def test_an_empty_list_is_a_film_without_pictures() -> None:
    assert FrameList().film() == Film("", 0, 0, 0, 0.0)


@pytest.mark.parametrize("taken", [film(), film(width=1000, height=1000), film(seconds=10.0), film(frames=2)])
def test_a_film_within_the_limits_is_taken(taken: Film) -> None:
    assert check(taken, LIMITS) is taken


@pytest.mark.parametrize(
    ("refused", "error", "reason"),
    [
        (film(frames=0), NotAVideo, "no pictures"),
        (film(frames=1), StillImage, "only one picture"),
        (film(width=1001, height=1000), TooLarge, "1001x1000"),
        (film(width=20_000, height=2), TooLarge, "each side"),
        (film(width=0, height=0), TooLarge, "of no size, or of far more than 1,000,000"),
        (film(seconds=10.1), TooLarge, "longer than 10 seconds"),
    ],
)
def test_what_the_shop_does_not_take_is_refused_with_a_reason(refused: Film, error: type[Refused], reason: str) -> None:
    with pytest.raises(error, match=reason):
        check(refused, LIMITS)
