"""Why a video was not published.

Each takes its text and nothing else: so an exception that was stored with a job can be raised again from it.
"""


class VideoError(Exception):
    """The video cannot be published, and another attempt on the same file would not help; the text says why."""


class Refused(VideoError):
    """The fault lies in the file."""


class NotAVideo(Refused):
    """ffmpeg finds no video in it that it could read to the end."""


class StillImage(Refused):
    """One picture, or a format of single pictures."""


class NoPicture(Refused):
    """Sound without a video stream; the cover of an album is none."""


class TooLarge(Refused):
    """Longer, or with larger pictures, than the settings allow."""


class TookTooLong(VideoError):
    """The time limit passed; a machine with more time may manage it."""


class UploadGone(VideoError):
    """What was uploaded is not there any more: upload it again."""


class EncoderBroke(Exception):
    """ffmpeg ended for a reason that lies in no file: killed, no memory, a full disk. Worth another attempt."""


class FfmpegMissing(EncoderBroke):
    """There is no ffmpeg on this machine; another worker may have one."""
