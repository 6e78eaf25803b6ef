"""The pictures of a clip at given times, exact for every container, and none decoded in vain.

From the key frame before a wanted picture, only what it needs is decoded: the pictures that others refer to.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from apt_lightning.data.media.container import is_one_to_all, open_media
from apt_lightning.data.media.video import Moment, PictureTrack

Picture = npt.NDArray[np.uint8]
Size = tuple[int, int] | int
"""Height and width of what comes out; or its shorter side, in the proportions in which it is shown."""
Packets = Mapping[int, "av.Packet[av.VideoStream]"]

BLACK = 24
"""Grey level, of 255, that 99 % of the values of a black picture do not pass."""

FROZEN = 8
"""Grey levels, of 255, by which 99.9 % of the values of a frozen clip change at most; coding noise was seen to reach 7,
talking heads to begin at 31."""

BEHIND = 255
"""Grey level shown through transparent parts: white, as pages do."""

_SEE_THROUGH = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""FFmpeg's own decoders of these do not read the transparency that Matroska keeps beside the pictures."""


def read_pictures(
    path: str | os.PathLike[str], track: PictureTrack, moments: list[Moment], size: Size, decoder: str
) -> dict[int, Picture]:
    """Decode pictures, upright and scaled whole to one size.

    Args:
        path: The file, for what is no longer in memory.
        track: Its video stream, with all packets noted.
        moments: What to get.
        size: Height and width of the pictures, or the length of the shorter side.
        decoder: ``pyav``, or ``decord``, which is used only where it is exact.

    Returns:
        Presentation time -> (H, W, 3) RGB picture. Of a damaged stream, the last picture before that can be decoded, or
        none; ``track.damaged`` then tells.
    """
    if decoder == "decord" and isinstance(size, tuple) and decord_is_exact(track):
        pictures = _read_decord(path, track, moments, size)
        if pictures is not None:
            return pictures
    if track.counted:
        return _count(path, track, moments, size)
    if track.packets:
        return _decode(track, dict(enumerate(track.packets)), moments, size)
    wanted = [range(track.key_before(m.time, m.position), m.position + 1) for m in moments]
    with _stored(path, track) as packets:
        return _decode(track, {i: p for i, p in enumerate(packets) if any(i in run for run in wanted)}, moments, size)


@contextmanager
def _stored(path: str | os.PathLike[str], track: PictureTrack) -> Iterator[Iterable[av.Packet[av.VideoStream]]]:
    """All packets that hold a picture, from memory or read again."""
    if track.packets:
        yield track.packets
        return
    with open_media(path) as container:
        stream = next(stream for stream in container.streams.video if stream.index == track.stream.index)
        yield (packet for packet in container.demux(stream) if packet.size)


def _decode(track: PictureTrack, packets: Packets, moments: list[Moment], size: Size) -> dict[int, Picture]:
    runs: list[tuple[int, int]] = []
    for first, last in sorted((track.key_before(m.time, m.position), m.position) for m in moments):
        if runs and first <= runs[-1][1]:
            runs[-1] = (runs[-1][0], max(last, runs[-1][1]))
        else:
            runs.append((first, last))
    wanted = {moment.time for moment in moments}
    scaler = VideoReformatter()
    pictures: dict[int, Picture] = {}
    for first, last in runs:
        for frame in _frames(track, packets, range(first, last + 1), wanted):
            if frame.pts in wanted:
                track.damaged |= frame.is_corrupt
                pictures[frame.pts] = _picture(track, frame, size, scaler)
    for moment in moments:
        if moment.time not in pictures:
            track.damaged = True
            run = range(track.key_before(moment.time, moment.position), moment.position + 1)
            last_before = None
            for frame in _frames(track, packets, run, set(track.times)):
                if frame.pts is not None and frame.pts <= moment.time:
                    last_before = frame
            if last_before is not None:
                pictures[moment.time] = _picture(track, last_before, size, scaler)
    return pictures


def _frames(track: PictureTrack, packets: Packets, run: range, wanted: set[int]) -> Iterator[av.VideoFrame]:
    """Decode a run of packets from a key frame on, leaving out pictures that are neither wanted nor referred to."""
    context = _decoder(track, packets[run[0]])
    for position in run:
        packet = packets[position]
        packet.pts = track.times[position]  # on the clock of the whole file
        context.skip_frame = "DEFAULT" if track.times[position] in wanted else "NONREF"
        yield from _decoded(track, context, packet)
    yield from _decoded(track, context, None)


def _decoder(track: PictureTrack, packet: av.Packet[av.VideoStream]) -> Any:
    """A decoder that remembers nothing."""
    context: Any = packet.stream.codec_context
    if track.stream.metadata.get("alpha_mode") == "1" and context.codec.name in _SEE_THROUGH:
        return av.CodecContext.create(_SEE_THROUGH[context.codec.name], "r")
    if not context.is_open:
        context.open()  # before pictures are skipped: what dav1d, of AV1, is told then holds for good
    context.flush_buffers()
    return context


def _count(path: str | os.PathLike[str], track: PictureTrack, moments: list[Moment], size: Size) -> dict[int, Picture]:
    """Decode all pictures: the n-th that is put out is shown at the n-th time."""
    place = {time: i for i, (time, _) in enumerate(track.shown)}
    scaler = VideoReformatter()
    pictures: dict[int, Picture] = {}
    total = len(place)
    for _ in range(2):  # again, if there are fewer pictures than packets
        wanted: dict[int, list[int]] = {}
        for moment in moments:
            wanted.setdefault(place[moment.time] * total // len(place), []).append(moment.time)
        found = 0
        with _stored(path, track) as packets:
            for frame in _all_frames(track, packets):
                for time in wanted.get(found, ()):
                    pictures[time] = _picture(track, frame, size, scaler)
                found += 1
        if found == total:
            break
        total = found
    track.damaged |= found not in (len(place), len(place) // 2)  # half: two fields make a picture
    return pictures


def _all_frames(track: PictureTrack, packets: Iterable[Any]) -> Iterator[av.VideoFrame]:
    context = None
    for packet in packets:
        if context is None:
            context = _decoder(track, packet)
            context.skip_frame = "DEFAULT"
        yield from _decoded(track, context, packet)
    if context is not None:
        yield from _decoded(track, context, None)


def _decoded(track: PictureTrack, context: Any, packet: Any) -> list[av.VideoFrame]:
    try:
        frames: list[av.VideoFrame] = context.decode(packet)
    except av.FFmpegError as error:
        if isinstance(error, MemoryError):
            raise
        track.damaged = True
        return []
    for frame in frames:
        if frame.pts is None:
            frame.pts = frame.dts
    return frames


def orientation(frame: av.VideoFrame) -> tuple[bool, bool, bool]:
    """How a stored picture is turned for showing: rows and columns exchanged, then mirrored left-right, top-bottom.

    The display matrix maps (x, y) to (a x + c y, b x + d y); it is rounded to whole quarter turns.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(data, np.int32))
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _picture(track: PictureTrack, frame: av.VideoFrame, size: Size, scaler: VideoReformatter) -> Picture:
    turned, mirrored, upside_down = orientation(frame)
    track.sideways |= turned
    track.turned |= turned or mirrored or upside_down
    height, width = _in_proportion(track, frame, size) if isinstance(size, int) else size[::-1] if turned else size
    picture = _opaque(track, frame, height, width, scaler)
    if turned:
        picture = picture.transpose(1, 0, 2)
    return np.ascontiguousarray(picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def _in_proportion(track: PictureTrack, frame: av.VideoFrame, side: int) -> tuple[int, int]:
    """Height and width, as stored, of which the shorter is ``side``; pixels that are not square become so."""
    wide = frame.width * float(track.stream.sample_aspect_ratio or 1)
    scale = side / min(wide, frame.height)
    return max(side, round(frame.height * scale)), max(side, round(wide * scale))


def _opaque(track: PictureTrack, frame: av.VideoFrame, height: int, width: int, scaler: VideoReformatter) -> Picture:
    """A frame scaled, :data:`BEHIND` where one sees through; one that is transparent throughout as it is stored."""
    if not (frame.format.has_palette or any(part.is_alpha for part in frame.format.components)):
        return scaler.reformat(frame, width, height, "rgb24").to_ndarray().astype(np.uint8, copy=False)
    picture = scaler.reformat(frame, width, height, "rgba").to_ndarray()
    colours, alpha = picture[:, :, :3].astype(np.uint8), picture[:, :, 3:] / np.float32(255)
    if alpha.min() > 0.98:
        return colours
    track.transparent = True
    if not alpha.any():
        return colours
    return np.rint(alpha * colours + (1 - alpha) * BEHIND).astype(np.uint8)


def decord_is_exact(track: PictureTrack) -> bool:
    """Whether decord returns the pictures of a stream by their rank: nothing hidden or turned, one rate, one stream."""
    several = len(track.stream.container.streams.video) > 1
    odd = track.hidden or track.variable_rate or track.counted or track.restarts
    if several or odd or not track.packets or track.keys[:1] != [0]:
        return False
    first = next(_frames(track, dict(enumerate(track.packets)), range(1), {track.times[0]}), None)
    if first is None or any(part.is_alpha for part in first.format.components):
        return False
    return not any(orientation(first))


def _read_decord(
    path: str | os.PathLike[str], track: PictureTrack, moments: list[Moment], size: tuple[int, int]
) -> dict[int, Picture] | None:
    """Decode with decord; ``None`` if it fails.

    Its FFmpeg opens playlists, and files that they name, so it gets only what no FFmpeg takes for one, and no path.
    """
    import decord

    rank = {time: i for i, (time, _) in enumerate(track.shown)}
    try:
        with open(path, "rb") as file:
            if not is_one_to_all(file.read(16)):
                return None
            file.seek(0)
            reader = decord.VideoReader(file, width=size[1], height=size[0], num_threads=1)
        if len(reader) != len(rank):
            return None
        pictures = reader.get_batch([rank[moment.time] for moment in moments]).asnumpy()
    except MemoryError:
        raise
    except Exception:  # whatever its C++ and Python raise, the other reader may do better
        return None
    return {moment.time: picture for moment, picture in zip(moments, pictures, strict=True)}


def picture_faults(pictures: list[Picture]) -> list[tuple[str, str]]:
    """Find pictures that show nothing, or always the same.

    Args:
        pictures: (H, W, 3) pictures of one clip.

    Returns:
        Codes of :data:`apt_lightning.data.faults.FAULTS` with what was measured.

    Example:
        >>> picture_faults([np.zeros((4, 4, 3), np.uint8)] * 2)
        [('black-picture', '99 % of the values are at most 0 of 255')]
    """
    if not pictures:
        return []
    # The first picture that shows something, and the first that moved, end the search.
    brightness = (float(np.percentile(picture, 99)) for picture in pictures)
    dark = list(takewhile(lambda level: level <= BLACK, brightness))
    if len(dark) == len(pictures):
        return [("black-picture", f"99 % of the values are at most {max(dark):.0f} of 255")]
    first = pictures[0].astype(np.int16)
    changes = (float(np.percentile(np.abs(picture - first), 99.9)) for picture in pictures[1:])
    still = list(takewhile(lambda change: change <= FROZEN, changes))
    if still and len(still) == len(pictures) - 1:
        return [("frozen-picture", f"99.9 % of the values change by at most {max(still):.0f} of 255")]
    return []
