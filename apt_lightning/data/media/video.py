"""The picture of a clip: the frames shown at given times, exact for every container, and no frame decoded in vain.

Seeking trusts the container's index, which is wrong or absent in cut files, variable rates and old formats. Reading
packets costs next to nothing, so all are read once, together with the sound. Then the time of every picture is known,
and only what the wanted ones need is decoded: from the key frame before them, the pictures that others refer to.
"""

from __future__ import annotations

import bisect
import math
import os
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.reformatter import VideoReformatter

from apt_lightning.data.collection.formats import CONTAINERS

Picture = npt.NDArray[np.uint8]
Packets = Mapping[int, "av.Packet[av.VideoStream]"]

KEPT_BYTES = 64 << 20
"""Packets of streams up to this size stay in memory between reading and decoding; larger files are read twice."""

BLACK = 24
"""Grey level, of 255, that 99 % of the values of a black picture do not pass."""

FROZEN = 8
"""Grey levels, of 255, by which 99.9 % of the values of a frozen clip change at most; coding noise was seen to reach 7,
talking heads to begin at 31."""


class Moment(NamedTuple):
    """One picture to get."""

    seconds: float
    """Time since the first picture is shown."""
    time: int
    """Presentation time of the picture, in the stream's time base."""
    position: int
    """Position of its packet in the file."""


@dataclass
class PictureTrack:
    """When each picture of a video stream is shown, and the packets to decode it from."""

    stream: av.VideoStream
    times: list[int] = field(default_factory=list)
    """Presentation time of each packet in file order, in the stream's time base."""
    lengths: list[int] = field(default_factory=list)
    """How long each packet's picture is shown, as the container tells it; 0 if it does not."""
    keys: list[int] = field(default_factory=list)
    """Positions of the key frames."""
    hidden: set[int] = field(default_factory=set)
    """Positions of pictures that an edit list hides."""
    packets: dict[int, av.Packet[av.VideoStream]] = field(default_factory=dict)
    """Packets by position; empty if they are too large to keep."""
    damaged: bool = False
    """Whether something wanted could not be decoded."""
    turned: bool = False
    """Whether the pictures decoded are turned or mirrored for showing."""
    sideways: bool = False
    """Whether their width is the height as shown."""
    _bytes: int = 0

    def add(self, packet: av.Packet[av.VideoStream]) -> None:
        """Take note of one packet of the stream."""
        time = packet_time(packet)
        if time is None:
            return
        position = len(self.times)
        if packet.is_keyframe:
            self.keys.append(position)
        if packet.is_discard:
            self.hidden.add(position)
        self.times.append(time)
        self.lengths.append(max(0, packet.duration or 0))
        self._bytes += packet.size
        self.packets[position] = packet
        if self._bytes > KEPT_BYTES:
            self.packets.clear()

    @cached_property
    def shown(self) -> list[tuple[int, int]]:
        """Time and position of each picture shown, in the order of showing; to be read after the last packet."""
        first = {self.times[i]: i for i in reversed(range(len(self.times))) if i not in self.hidden}
        return sorted(first.items())

    @cached_property
    def intervals(self) -> list[int]:
        """Times between pictures shown, in the stream's time base."""
        return [b - a for (a, _), (b, _) in zip(self.shown, self.shown[1:], strict=False)]

    @property
    def variable_rate(self) -> bool:
        """Whether the times between pictures differ by more than rounding."""
        if not self.intervals:
            return False
        return max(self.intervals) - min(self.intervals) > max(2.0, 0.1 * statistics.median(self.intervals))

    @property
    def end(self) -> int:
        """When the last picture ceases to be shown, in the stream's time base."""
        time, position = self.shown[-1]
        return time + (self.lengths[position] or int(statistics.median(self.intervals or [0])))

    def seconds(self, ticks: int | Fraction) -> float:
        """Convert a time of the stream."""
        return float(ticks * (self.stream.time_base or Fraction(1)))

    @property
    def duration(self) -> float:
        """Seconds from the first picture shown to the end of the last."""
        return self.seconds(self.end - self.shown[0][0]) if self.shown else 0.0

    @property
    def aspect(self) -> float:
        """Ratio of width to height as shown; to be read after decoding, which tells whether the picture is turned."""
        ratio = float(self.stream.width / self.stream.height * (self.stream.sample_aspect_ratio or 1))
        return 1 / ratio if self.sideways else ratio

    def moments(self, n: int) -> list[Moment]:
        """Choose the pictures shown in the middle of ``n`` equal parts of the clip; all, if there are fewer."""
        start = self.shown[0][0]
        if len(self.shown) < n:
            return [Moment(self.seconds(time - start), time, position) for time, position in self.shown]
        middles = [start + Fraction((2 * k + 1) * (self.end - start), 2 * n) for k in range(n)]
        at = [bisect.bisect_right(self.shown, math.floor(middle), key=lambda one: one[0]) - 1 for middle in middles]
        return [Moment(self.seconds(middle - start), *self.shown[i]) for middle, i in zip(middles, at, strict=True)]

    def key_before(self, time: int, position: int) -> int:
        """Position from which to decode a picture: the last key frame that is shown no later.

        Pictures that follow a key frame in the file but are shown before it refer to what came before it (open GOP).
        """
        i = bisect.bisect_right(self.keys, position) - 1
        while i > 0 and self.times[self.keys[i]] > time:
            i -= 1
        return self.keys[i] if i >= 0 else 0


def open_media(path: str | os.PathLike[str]) -> InputContainer:
    """Open a file from a stranger: nothing but the file itself is read, whatever it names, and no network used."""
    options = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
    return av.open(os.fspath(path), options=options, metadata_errors="ignore")


def packet_time(packet: av.Packet[Any]) -> int | None:
    """Time of a packet's picture in the stream's time base; ``None`` for packets without picture."""
    return None if packet.size == 0 else packet.dts if packet.pts is None else packet.pts


def read_pictures(
    path: str | os.PathLike[str], track: PictureTrack, moments: list[Moment], size: tuple[int, int], decoder: str
) -> dict[int, Picture]:
    """Decode pictures, upright and scaled whole to one size.

    Args:
        path: The file, for what is no longer in memory.
        track: Its video stream, with all packets noted.
        moments: What to get.
        size: Height and width of the pictures.
        decoder: ``pyav``, or ``decord``, which is used only where it is exact.

    Returns:
        Presentation time -> (H, W, 3) RGB picture. Of a damaged stream, the last picture before that can be decoded, or
        none; ``track.damaged`` then tells.
    """
    if decoder == "decord" and decord_is_exact(track):
        pictures = _read_decord(path, track, moments, size)
        if pictures is not None:
            return pictures
    if track.packets:
        return _decode(track, track.packets, moments, size)
    with open_media(path) as container:
        stream = next(stream for stream in container.streams.video if stream.index == track.stream.index)
        wanted = [range(track.key_before(m.time, m.position), m.position + 1) for m in moments]
        timed = (packet for packet in container.demux(stream) if packet_time(packet) is not None)
        packets = {i: packet for i, packet in enumerate(timed) if any(i in run for run in wanted)}
        return _decode(track, packets, moments, size)


def _decode(track: PictureTrack, packets: Packets, moments: list[Moment], size: tuple[int, int]) -> dict[int, Picture]:
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
    context = packets[run[0]].stream.codec_context
    context.flush_buffers()
    for position in run:
        context.skip_frame = "DEFAULT" if track.times[position] in wanted else "NONREF"
        yield from _decoded(track, context, packets[position])
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


def _picture(track: PictureTrack, frame: av.VideoFrame, size: tuple[int, int], scaler: VideoReformatter) -> Picture:
    turned, mirrored, upside_down = orientation(frame)
    track.sideways |= turned
    track.turned |= turned or mirrored or upside_down
    height, width = size[::-1] if turned else size
    picture = scaler.reformat(frame, width, height, "rgb24").to_ndarray().astype(np.uint8, copy=False)
    if turned:
        picture = picture.transpose(1, 0, 2)
    return np.ascontiguousarray(picture[:: -1 if upside_down else 1, :: -1 if mirrored else 1])


def decord_is_exact(track: PictureTrack) -> bool:
    """Whether decord returns the pictures of a stream by their rank: nothing hidden or turned, one rate, one stream."""
    several = len(track.stream.container.streams.video) > 1
    if several or track.hidden or track.variable_rate or not track.packets or track.keys[:1] != [0]:
        return False
    first = next(_frames(track, track.packets, range(1), {track.times[0]}), None)
    return first is not None and not any(orientation(first))


def _read_decord(
    path: str | os.PathLike[str], track: PictureTrack, moments: list[Moment], size: tuple[int, int]
) -> dict[int, Picture] | None:
    """Decode with decord; ``None`` if it fails."""
    import decord

    rank = {time: i for i, (time, _) in enumerate(track.shown)}
    try:
        reader = decord.VideoReader(os.fspath(path), width=size[1], height=size[0], num_threads=1)
        if len(reader) != len(rank):
            return None
        pictures = reader.get_batch([rank[moment.time] for moment in moments]).asnumpy()
    except decord.DECORDError:
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
    brightest = max(float(np.percentile(picture, 99)) for picture in pictures)
    if brightest <= BLACK:
        return [("black-picture", f"99 % of the values are at most {brightest:.0f} of 255")]
    first = pictures[0].astype(np.int16)
    moved = max((float(np.percentile(np.abs(picture - first), 99.9)) for picture in pictures[1:]), default=np.inf)
    if moved <= FROZEN:
        return [("frozen-picture", f"99.9 % of the values change by at most {moved:.0f} of 255")]
    return []
