"""What ffmpeg makes of files, good and bad."""

from pathlib import Path

import pytest

from loja.settings import ShopSettings
from loja.videos import signature
from loja.videos.encoder import Encoder
from loja.videos.errors import EncoderBroke, FfmpegMissing, NoPicture, NotAVideo, Refused, StillImage, TooLarge
from loja.videos.program import Ffmpeg, complaint, locate
from loja.videos.recipe import Limits, probing
from tests.loja.videos.studio import FFMPEG, Studio, ffmpeg

LIMITS = Limits(pixels=10_000_000, seconds=60)
CONCAT = "ffconcat version 1.0\nfile clip.mp4\n"
PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\nclip.mp4\n#EXT-X-ENDLIST\n"


@pytest.fixture
def encoder() -> Encoder:
    return Encoder(Ffmpeg(FFMPEG), LIMITS)


def ignored(*report: object) -> None:
    """Nobody looks."""


def test_a_video_becomes_what_browsers_play(encoder: Encoder, studio: Studio, tmp_path: Path) -> None:
    reports: list[tuple[int, int, str]] = []
    target, picture = tmp_path / "video.mp4", tmp_path / "we%03d'ird.jpg"
    film = encoder.encode(studio.odd(), target, lambda *report: reports.append(report))
    encoder.thumbnail(target, picture, film)
    assert (film.codec, film.width, film.height, film.seconds) == ("h264", 1280, 256, 1.0)
    said = ffmpeg("-i", target, "-f", "null", "-")
    assert "yuv420p" in said
    assert "Audio" not in said
    content = target.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")
    assert picture.read_bytes().startswith(b"\xff\xd8\xff")
    assert [total for _, total, _ in reports] == [1000] * len(reports)
    assert all(0 <= done <= 1000 for done, _, _ in reports)


@pytest.mark.parametrize("extension", ["mkv", "avi", "ts", "mpg", "flv", "wmv"])
def test_many_containers_are_taken(encoder: Encoder, studio: Studio, tmp_path: Path, extension: str) -> None:
    source = tmp_path / f"clip.{extension}"
    ffmpeg("-i", studio.clip(), source)
    film = encoder.encode(source, tmp_path / "video.mp4", ignored)
    assert film.seconds == pytest.approx(1.0, abs=0.1)


def bad(studio: Studio) -> list[tuple[Path, type[Refused], str]]:
    return [
        (studio.still("8k.png"), StillImage, "a still image, not a video"),
        (studio.still("8k.jpg"), StillImage, "a still image, not a video"),
        (studio.one_frame(), StillImage, "only one picture"),
        (studio.sound(), NoPicture, "no video stream"),
        (studio.cover(), NoPicture, "no video stream"),
        (studio.text("text.mp4", "Dear Sir,\nno video this year\n"), NotAVideo, "cannot be read as a video"),
        (studio.text("list.mp4", PLAYLIST), NotAVideo, "a playlist, not a video"),
        (studio.text("concat.mp4", CONCAT), NotAVideo, "a playlist, not a video"),
        (studio.text("words.srt", "1\n00:00:01,000 --> 00:00:02,000\nhello\n"), NotAVideo, "it takes MP4, MOV"),
        (studio.cut(), NotAVideo, "moov atom not found"),
        (studio.text("empty.mp4", ""), NotAVideo, "cannot be read as a video"),
    ]


def test_what_is_no_video_is_refused_with_a_reason_that_names_no_file_of_ours(encoder: Encoder, studio: Studio) -> None:
    for path, error, reason in bad(studio):
        with pytest.raises(error) as raised:
            encoder.encode(path, studio.folder / "never.mp4", ignored)
        assert reason in str(raised.value), path
        assert str(studio.folder) not in str(raised.value), path
    assert not (studio.folder / "never.mp4").exists()


@pytest.mark.parametrize("content", [PLAYLIST, CONCAT])
def test_ffmpeg_itself_opens_no_playlist(studio: Studio, content: str) -> None:
    """Without the look at the first bytes: these lists name a video that is there."""
    studio.clip()
    path = studio.text("list", "\n" * signature.HEAD * 2 + content if content == PLAYLIST else content)
    with pytest.raises(NotAVideo):
        Ffmpeg(FFMPEG).run(probing(path, LIMITS))


def test_pictures_above_the_limit_are_refused_before_they_are_decoded(studio: Studio) -> None:
    with pytest.raises(TooLarge, match="1501x301"):
        Encoder(Ffmpeg(FFMPEG), Limits(pixels=1501 * 301 - 1, seconds=60)).probe(studio.odd())
    with pytest.raises(TooLarge, match="far more than 1,000 pixels"):
        Encoder(Ffmpeg(FFMPEG), Limits(pixels=1000, seconds=60)).probe(studio.odd())


def test_a_video_above_the_time_is_not_read_to_its_end(studio: Studio) -> None:
    with pytest.raises(TooLarge, match="longer than 2 seconds"):
        Encoder(Ffmpeg(FFMPEG), Limits(pixels=10_000_000, seconds=2)).probe(studio.long())


def test_what_raises_while_ffmpeg_runs_ends_it(studio: Studio, tmp_path: Path) -> None:
    def stop(*report: object) -> None:
        raise TimeoutError

    target = tmp_path / "video.mp4"
    with pytest.raises(TimeoutError):
        Encoder(Ffmpeg(FFMPEG), Limits(10_000_000, 600)).encode(studio.long(), target, stop)
    assert b"moov" not in target.read_bytes()


def test_ffmpeg_gets_no_secrets_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOJA_SECRET", "s3cret")
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nenv\n")
    program.chmod(0o755)
    lines: list[str] = []
    Ffmpeg(str(program)).run([], lines.append)
    assert lines
    assert not any("s3cret" in line for line in lines)


@pytest.mark.parametrize(
    ("code", "said", "error"),
    [
        (-9, [], EncoderBroke),
        (-11, ["[h264 @ 0x1] whatever"], EncoderBroke),
        (1, ["av_interleaved_write_frame(): No space left on device"], EncoderBroke),
        (1, ["Cannot allocate memory"], EncoderBroke),
        (183, ["[in#0 @ 0x1] moov atom not found", "Error opening input file file:/secret."], NotAVideo),
        (1, [], NotAVideo),
        (1, ["file:/secret/path: Invalid data", "\x1b[31m" * 500], NotAVideo),
    ],
)
def test_only_what_lies_in_no_file_is_worth_another_attempt(code: int, said: list[str], error: type[Exception]) -> None:
    complained = complaint(code, said)
    assert type(complained) is error
    assert "secret" not in str(complained)
    assert str(complained).isprintable()
    assert len(str(complained)) < 300


def test_a_missing_ffmpeg_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FfmpegMissing, match="LOJA_FFMPEG"):
        locate("/nowhere/ffmpeg")
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("loja.videos.program._packaged", lambda: None)
    with pytest.raises(FfmpegMissing, match="pip install imageio-ffmpeg"):
        Encoder.of(ShopSettings(ffmpeg=None))
