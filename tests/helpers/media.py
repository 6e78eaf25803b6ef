"""Small media files made for tests: pictures that carry their own number, and every way a file can be odd or broken."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (320, 180)
"""Width and height of the pictures written."""
BARS = 12
"""Columns of a numbered picture: a white one at each side and ten bits between, above their complements."""


def numbered(number, size=SIZE):
    """(H, W, 3) picture of vertical bars: the bits of ``number`` above, their complements below."""
    width, height = size
    bits = np.array([1, *(number >> np.arange(9, -1, -1) & 1), 1])
    columns = bits[np.arange(width) * BARS // width]
    rows = np.where(np.arange(height)[:, None] < height // 2, columns, 1 - columns)
    return np.repeat((rows * 220 + 16).astype(np.uint8)[:, :, None], 3, axis=2)


def read_number(picture):
    """Number of a picture made by :func:`numbered`, scaled, recompressed, but upright; raises if it is not."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BARS) + 0.5) * width / BARS).astype(int)
    upper = picture[height // 4, centres].mean(axis=1) > 128
    lower = picture[3 * height // 4, centres].mean(axis=1) > 128
    if (upper == lower).any() or not (upper[0] and upper[-1]):
        raise ValueError("no upright numbered picture")
    return int((upper[1:-1] * 2 ** np.arange(9, -1, -1)).sum())


def voice(seconds, rate=44100, seed=0):
    """(T,) sound with pitch, formants and pauses, so that all functionals have something to measure."""
    t = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * t)) / rate
    tone = sum(np.sin(k * phase) / k for k in range(1, 12))
    loudness = 0.12 * np.clip(np.sin(2 * np.pi * 1.3 * t) + 0.5, 0, None)
    noise = np.random.default_rng(seed).standard_normal(t.size)
    return (loudness * tone + 0.003 * noise).astype(np.float32)


def write_clip(
    path,
    count=50,
    times=None,
    rate=25,
    gop=12,
    b_frames=3,
    sound="voice",
    channels=2,
    sample_rate=44100,
    codec="libx264",
    audio_codec="aac",
    picture=numbered,
    size=SIZE,
    extra_video=False,
    codec_options=None,
    container_options=None,
):
    """Write a clip.

    Args:
        path: File; its ending chooses the container.
        count: Number of pictures; 0 for none.
        times: Time of each picture in ms, for a variable rate.
        rate: Pictures a second, unless ``times`` are given.
        gop: Distance of key frames.
        b_frames: Number of B frames in a row.
        sound: ``voice``, an array of samples, or ``None``.
        channels: Channels of the sound, all alike.
        sample_rate: Samples a second.
        codec: Video encoder.
        audio_codec: Audio encoder.
        picture: Number, size -> (H, W, 3) picture.
        size: Width and height.
        extra_video: Whether to add a second video stream, black.
        codec_options: Further options of the video encoder.
        container_options: Options of the container.
    """
    step = Fraction(1, 1000) if times is not None else Fraction(1, 1) / rate
    times = range(count) if times is None else times
    with av.open(str(path), "w", options=container_options or {}) as out:
        streams = []
        if len(times):
            for _ in range(1 + extra_video):
                video = out.add_stream(codec, rate=rate)
                video.width, video.height, video.pix_fmt = *size, "yuv420p"
                video.codec_context.time_base = step
                coding = {"g": str(gop), "bf": str(b_frames)}
                if codec == "libx264":
                    coding |= {"sc_threshold": "0", "preset": "veryfast"}
                video.options = coding | (codec_options or {})
                streams.append(video)
        if sound is not None:
            samples = voice(float(times[-1] * step) + 0.04 if len(times) else 2.0, sample_rate)
            samples = samples if isinstance(sound, str) else np.asarray(sound, np.float32)
            layout = {1: "mono", 2: "stereo"}[channels]
            audio = out.add_stream(audio_codec, rate=sample_rate, layout=layout)
            form = audio.codec_context.format.name
        for number, time in enumerate(times):
            for i, video in enumerate(streams):
                shown = picture(number, size) if i == 0 else np.zeros((*size[::-1], 3), np.uint8)
                frame = av.VideoFrame.from_ndarray(shown, "rgb24")
                frame.pts, frame.time_base = int(time), step
                out.mux(video.encode(frame))
        for video in streams:
            out.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)), "fltp", layout)
            frame.sample_rate, frame.pts = sample_rate, 0
            for part in av.AudioResampler(form, layout, sample_rate).resample(frame):
                out.mux(audio.encode(part))
            out.mux(audio.encode(None))
    return Path(path)


def cut(source, target, seconds):
    """Copy a clip from ``seconds`` on without coding anew: what precedes the cut since its key frame is hidden."""
    with av.open(str(source)) as clip, av.open(str(target), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in clip.streams}
        video = clip.streams.video[0]
        packets = [packet for packet in clip.demux() if packet.size]
        key = max(p.pts for p in packets if p.stream is video and p.is_keyframe and p.pts * p.time_base <= seconds)
        first = next(i for i, p in enumerate(packets) if p.stream is video and p.pts == key)
        for packet in packets[first:]:
            if packet.stream is not video and packet.pts * packet.time_base < seconds:
                continue
            shift = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    return Path(target)


_QUARTER_TURNS = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def turn(source, target, degrees=0, mirrored=False):
    """Set the display matrix of an mp4's first track: clockwise ``degrees``, after mirroring left-right."""
    a, b, c, d = _QUARTER_TURNS[degrees]
    if mirrored:
        a, b = -a, -b
    data = bytearray(Path(source).read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes before the matrix
    one = 1 << 16
    data[at : at + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    Path(target).write_bytes(data)
    return Path(target)


def turned(degrees=0, mirrored=False):
    """Picture maker whose pictures, shown by the matrix of :func:`turn`, are upright numbered ones."""

    def picture(number, size):
        upright = numbered(number, size if degrees % 180 == 0 else size[::-1])
        stored = np.rot90(upright, degrees // 90)  # counter-clockwise, undone by turning clockwise
        return np.ascontiguousarray(stored[:, ::-1] if mirrored else stored)

    return picture
