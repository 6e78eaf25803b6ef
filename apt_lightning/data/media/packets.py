"""A stranger's file opened, and all its packets read once."""

from __future__ import annotations

from typing import Any

import av
from av.container import InputContainer

from apt_lightning.common.errors import ClipError
from apt_lightning.data.media.audio import SoundTrack
from apt_lightning.data.media.container import LONGEST, REMEDY, codec_names, decodable, films, is_media, open_media
from apt_lightning.data.media.extraction import Found
from apt_lightning.data.media.video import PictureTrack


def opened(path: str, name: str, head: bytes) -> InputContainer:
    """Open a stranger's file, whose first bytes have passed :func:`apt_lightning.data.media.container.check_file`.

    Raises:
        ClipError: If it is no media file, or ends before its index.
    """
    try:
        return open_media(path)
    except MemoryError:
        raise
    except (av.FFmpegError, OSError, ValueError) as error:
        code = "truncated" if is_media(head) else "not-a-video"
        detail = error.strerror if isinstance(error, av.FFmpegError) else error
        raise ClipError(code, f"{name}: {detail}") from None


def demux(
    container: InputContainer, name: str, rate: int | None
) -> tuple[PictureTrack | None, SoundTrack | None, float]:
    """Read all packets once; the sound is decoded on the way, the pictures only noted. Also the end of the last.

    Args:
        container: Of :func:`opened`.
        name: Name of the clip, for its faults.
        rate: Samples a second of the sound; None decodes no sound.

    Raises:
        ClipError: If the sound is too long.
    """
    film, heard = decodable(container, films(container)), decodable(container, container.streams.audio)
    video = PictureTrack(film[0]) if film else None
    sound = SoundTrack(heard[0], rate) if heard and rate else None
    end = 0.0
    try:
        for packet in container.demux():
            if packet.stream is not None and packet.dts is not None and packet.size:
                end = max(end, float(((packet.pts or packet.dts) + (packet.duration or 0)) * packet.time_base))
            if video is not None and packet.stream is video.stream:
                video.add(packet)  # type: ignore[arg-type]  # of a stream that is of pictures
            elif sound is not None and packet.stream is sound.stream:
                _listen(sound, packet, name)
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        # What cannot be read any more is missing from the end, and found by that.
    return video, sound, end


def _listen(sound: SoundTrack, packet: Any, name: str) -> None:
    sound.add(packet)
    if sound.seconds > LONGEST:
        raise ClipError("too-long", f"{name}: more than {LONGEST // 60} min of sound; {REMEDY}")


def other_sound(path: str, name: str, silent: SoundTrack) -> SoundTrack:
    """The next sound track of the file in which there is something, if the decoder gets nothing out of the first."""
    with open_media(path) as container:
        others = [s for s in decodable(container, container.streams.audio) if s.index != silent.stream.index]
        tracks = {stream.index: SoundTrack(stream, silent.rate) for stream in others}
        for packet in container.demux(others) if others else ():
            _listen(tracks[packet.stream.index], packet, name)
    return next((track for track in tracks.values() if track.seconds), silent)


def missing(container: InputContainer, kind: str) -> Found:
    """Say why there is no ``audio`` or ``video``."""
    streams = films(container) if kind == "video" else list(container.streams.audio)
    if not streams:
        return [(f"no-{kind}", f"no {kind} stream")]
    return [(f"no-{kind}", f"no decoder for codec {codec_names(container, streams)}")]
