"""When each picture of a video stream is shown, for every container, and the packets to decode it from.

Seeking trusts the container's index, which is wrong or absent in cut files, variable rates and old formats. Reading
packets costs next to nothing, so all are read once, together with the sound. Then the time of every picture is known.
"""

from __future__ import annotations

import bisect
import math
import statistics
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple, cast

import av
import numpy as np
from av.format import Flags

KEPT_BYTES = 64 << 20
"""Packets of streams up to this size stay in memory between reading and decoding; larger files are read twice."""

BACK, AHEAD = 1, 10
"""Seconds by which a clock that starts anew falls behind; or is ahead, where containers may splice (FFmpeg's bound)."""


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
    """When each picture of a video stream is shown, and the packets to decode it from.

    What is derived from the times is to be read after the last packet.
    """

    stream: av.VideoStream
    stored: list[tuple[int | None, int | None]] = field(default_factory=list)
    """Presentation and decoding time of each packet in file order, in the stream's time base, on one clock."""
    lengths: list[int] = field(default_factory=list)
    """How long each packet's picture is shown, as the container tells it; 0 if it does not."""
    keys: list[int] = field(default_factory=list)
    """Positions of the key frames."""
    hidden: set[int] = field(default_factory=set)
    """Positions of pictures that an edit list hides."""
    packets: list[av.Packet[av.VideoStream]] = field(default_factory=list)
    """Packets by position; empty if they are too large to keep."""
    restarts: int = 0
    """How often the clock of the file started anew; the parts are shown one after another."""
    damaged: bool = False
    """Whether something wanted could not be decoded."""
    turned: bool = False
    """Whether the pictures decoded are turned or mirrored for showing."""
    sideways: bool = False
    """Whether their width is the height as shown."""
    transparent: bool = False
    """Whether something can be seen through them."""
    _bytes: int = 0
    _last: int | None = None
    _end: int = 0
    _shift: int = 0

    def add(self, packet: av.Packet[av.VideoStream]) -> None:
        """Take note of one packet of the stream; empty ones hold no picture."""
        if packet.size == 0:
            return
        position = len(self.stored)
        if packet.is_keyframe:
            self.keys.append(position)
        if packet.is_discard:
            self.hidden.add(position)
        shift = self._continue(packet)
        self.stored.append(tuple(None if time is None else time + shift for time in (packet.pts, packet.dts)))  # type: ignore[arg-type]
        self.lengths.append(max(0, packet.duration or 0))
        self._bytes += packet.size
        if self._bytes <= KEPT_BYTES:
            self.packets.append(packet)
        else:
            self.packets.clear()

    def _continue(self, packet: av.Packet[av.VideoStream]) -> int:
        """What to add to a packet's times, so that parts with clocks of their own follow one another."""
        clock = packet.pts if packet.dts is None else packet.dts
        if clock is None:
            return self._shift
        if self._last is not None:
            step = self.seconds(clock + self._shift - self._last)
            splices = bool(self.stream.container.format.flags & cast(int, Flags.ts_discont.value))
            if step < -BACK or (splices and step > AHEAD):
                self.restarts += 1
                self._shift = self._end - (clock if packet.pts is None else packet.pts)
        self._last = clock + self._shift
        shown = self._last if packet.pts is None else packet.pts + self._shift
        self._end = max(self._end, shown + (packet.duration or 1))
        return self._shift

    @cached_property
    def counted(self) -> bool:
        """Whether pictures are to be told by the order in which they are decoded.

        AVI, ASF and others store no time, or that of decoding. If pictures are reordered, FFmpeg can only guess when
        each is shown, and it guesses the same distance for all.
        """
        known = {pts - dts for pts, dts in self.stored if pts is not None and dts is not None}
        missing = any(pts is None for pts, _ in self.stored)
        return self.stream.codec_context.has_b_frames and (missing or len(known) == 1)

    @cached_property
    def times(self) -> list[int]:
        """Presentation time of each packet; those that the container does not tell lie evenly between the others."""
        lacking = any(pts is None for pts, _ in self.stored)
        given = [dts if lacking and dts is not None else pts for pts, dts in self.stored]
        known = [i for i, time in enumerate(given) if time is not None]
        told = [float(time) for time in given if time is not None]
        if len(known) == len(given):
            return [time for time in given if time is not None]
        ticks = float(1 / (self.stream.average_rate or 25) / (self.stream.time_base or Fraction(1)))
        if not known:
            return [round(i * ticks) for i in range(len(given))]
        ends = (told[0] - known[0] * ticks, told[-1] + (len(given) - 1 - known[-1]) * ticks)
        at = [0, *known, len(given) - 1]
        times = np.interp(range(len(given)), at, [ends[0], *told, ends[1]])
        return [round(float(time)) for time in times]

    @cached_property
    def shown(self) -> list[tuple[int, int]]:
        """Time and position of each picture shown, in the order of showing."""
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

    def moments(self, n: int, span: tuple[float, float] | None = None) -> list[Moment]:
        """Choose the pictures shown in the middle of ``n`` equal parts of the clip; all, if there are fewer.

        Args:
            n: How many.
            span: Seconds from the first picture between which to choose; none after the last picture.
        """
        start = self.shown[0][0]
        if len(self.shown) < n:
            return [Moment(self.seconds(time - start), time, position) for time, position in self.shown]
        first, last = start, self.end
        if span is not None:
            ticks = [start + round(second / float(self.stream.time_base or 1)) for second in span]
            first, last = ticks[0], min(self.end, ticks[1])
            if last <= first:
                return []
        middles = [first + Fraction((2 * k + 1) * (last - first), 2 * n) for k in range(n)]
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
