"""Words given to `apt score`: which clip they are of, and what of a file is said."""

import pytest

from apt_lightning.common.errors import DataError, UsageError
from apt_lightning.data.text.transcripts import read_transcripts

SRT = (
    "\ufeff1\r\n00:00:01,000 --> 00:00:02,500\r\n<i>ANNA: Well,</i> hello\r\n\r\n"
    "2\r\n00:00:03,000 --> 00:00:04,000 X1:10\r\n- {\\an8}Speaker 2: at 10:30 &amp; after\r\n7\r\n\r\nand on\r\n"
)
VTT = (
    "WEBVTT - a title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE nobody\nsays this\n\n"
    "intro\n00:01.000 --> 00:02.000 align:start\n<v Anna>Well, <00:00:01.500><c>hello</c>\n\n"
    "00:00:03.000 --> 00:00:04.000\n>> BEN: at 10:30 &amp; after\n7\n\nand on\n"
)
SAID = "Well, hello at 10:30 & after 7 and on"


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.VTT", VTT), ("a.txt", SAID)])
def test_only_what_is_said_is_left(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read_transcripts(str(tmp_path / name), ["x/a.mp4"]) == {"x/a.mp4": SAID}


def test_subtitles_without_times_are_an_error(tmp_path):
    (tmp_path / "a.srt").write_text("just words")
    with pytest.raises(DataError, match="no line of it tells times"):
        read_transcripts(str(tmp_path / "a.srt"), ["a.mp4"])


@pytest.mark.parametrize(
    "given",
    ["talk.csv", "my words.txt", "/tmp/x", "../x y", "~/talk", "C:\\a b", "foo/bar", "x.srt", "x.webm", "."],
)
def test_a_mistyped_path_is_no_words(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no transcript file"):
        read_transcripts(given, ["a.mp4"])


@pytest.mark.parametrize("given", ["", "hello", "I see.", "Yes/no is fine", "one\n/two", "at 10:30 ... so", "Dr. X"])
def test_words_are_words(given):
    assert read_transcripts(given, ["a.mp4"]) == {"a.mp4": given}


def table(tmp_path, *rows):
    for clip in ("one/a.mp4", "two/a.mp4", "b.mp4"):
        (tmp_path / clip).parent.mkdir(exist_ok=True)
        (tmp_path / clip).touch()
    (tmp_path / "t.csv").write_text("clip,transcript\n" + "".join(f"{row}\n" for row in rows))
    return str(tmp_path / "t.csv")


CLIPS = ["one/a.mp4", "./two/a.mp4", "b.mp4"]


def test_rows_are_found_by_path_then_by_unique_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = table(tmp_path, "one/a.mp4,first", f"{tmp_path}/two/a.mp4,second", "elsewhere/b.mp4,third")
    assert read_transcripts(given, CLIPS) == {"one/a.mp4": "first", "./two/a.mp4": "second", "b.mp4": "third"}
    monkeypatch.chdir("/")  # paths of a table are relative to it
    clips = [str(tmp_path / clip) for clip in CLIPS]
    assert list(read_transcripts(given, clips).values()) == ["first", "second", "third"]
    assert read_transcripts(table(tmp_path, "b.mp4,only"), clips) == {str(tmp_path / "b.mp4"): "only"}


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (["a.mp4,x"], r"row 2, column clip: 'a\.mp4' could be 2 of the clips"),
        (["b.mp4,x", "c.mp4,y"], r"row 3, column clip: 'c\.mp4' is none of the clips given"),
        (["b.mp4,x", "./b.mp4,x"], r"row 3, column clip: './b\.mp4' is the clip of row 2 already"),
        (["b.mp4,x", "else/b.mp4,y"], r"row 3, column clip: .* is the clip of row 2 already"),
    ],
)
def test_unmatched_ambiguous_and_repeated_rows_are_errors(tmp_path, monkeypatch, rows, match):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=match):
        read_transcripts(table(tmp_path, *rows), CLIPS)


def test_one_text_is_not_for_several_clips():
    with pytest.raises(UsageError, match="cannot serve several clips"):
        read_transcripts("hello there", ["a.mp4", "b.mp4"])
