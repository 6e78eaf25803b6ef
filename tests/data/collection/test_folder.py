"""What a folder holds: every format as a clip, sounds of films, other files by kind, and hints at names."""

import unicodedata

import av
import pytest
from places import ROOT
from test_collection import official

from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.collection import read_collection
from apt_lightning.data.collection.folder import others_text
from apt_lightning.data.collection.formats import CONTAINERS, SUFFIXES

NAMED = ".3gp .3g2 .ts .mts .m2ts .flv .ogv .vob .mpe .asf .ogg .opus .flac .aac .wma .mp4 .mov .mkv .webm .avi .wav"


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_every_format_is_found_in_upper_and_lower_case(tmp_path):
    wanted = [f"{case}{i}{suffix}" for i, suffix in enumerate(NAMED.split()) for case in "ab"]
    touch(tmp_path, *(name if name[0] == "a" else name.upper() for name in wanted))
    found = {clip.name.lower() for clip in read_collection(tmp_path).clips}
    assert found == set(wanted)


def test_the_list_is_what_the_decoder_calls_so():
    for container in CONTAINERS:
        known = {f".{suffix}" for suffix in av.format.ContainerFormat(container, "r").extensions}
        assert known - SUFFIXES <= {".avif", ".heic", ".heif", ".ism", ".isma", ".ismv", ".psp", ".mks", ".m2a", ".mpa",
                                    ".dif"}, container  # fmt: skip


def test_other_files_are_counted_by_kind(tmp_path):
    touch(tmp_path, "a.mp4", "x/b.txt", "c.TXT", "d.jpg", "README", ".hidden", ".git/config", "y.zip", "unpacked.json")
    collection = read_collection(tmp_path)
    assert [clip.name for clip in collection.clips] == ["a.mp4"]
    assert collection.others == {".txt": 2, ".jpg": 1, "without an ending": 1, "hidden": 2, ".zip": 1}
    assert others_text(collection.others).startswith("other files: 2 .txt, 2 hidden, 1 .jpg")


def test_many_kinds_are_summed_up():
    text = others_text({f".k{i:02d}": 1 for i in range(20)})
    assert text.count(",") == 8 and text.endswith("12 of 12 further kinds")


def test_a_sound_beside_a_film_is_the_films(tmp_path):
    touch(tmp_path, "a.mp4", "a.wav", "x/a.wav", "b.flac", "c.MOV", "c.M4A")
    collection = read_collection(tmp_path)
    assert sorted(clip.name for clip in collection.clips) == ["a.mp4", "a.wav", "b.flac", "c.MOV"]
    assert next(clip for clip in collection.clips if clip.name == "a.wav").path == str(tmp_path / "x" / "a.wav")
    assert collection.others == {"sound of a film": 2}


def test_sounds_of_labelled_films_are_theirs_wherever_they_lie(tmp_path):
    official(tmp_path, ["train-1/a.mp4", "wav/a.wav", "train-1/b.wav"], {"training": {"a.mp4": 0.5, "b.wav": 0.5}})
    collection = read_collection(tmp_path)
    assert [clip.name for clip in collection.clips] == ["a.mp4", "b.wav"]
    assert collection.others == {"sound of a film": 1}


@pytest.mark.parametrize(
    ("there", "written", "hint"),
    [
        ("v/a.mp4", "v\\a.mp4", "write / for"),
        ("a.mp4", "C:\\clips\\a.mp4", "a path of another machine"),
        ("a.MP4", "a.mp4", "'a.MP4' is there, which differs in upper and lower case"),
        ("caf\u00e9.mp4", unicodedata.normalize("NFD", "caf\u00e9.mp4"), "differs in the Unicode form"),
        (unicodedata.normalize("NFD", "\u00fc.mp4"), "\u00fc.mp4", "differs in the Unicode form"),
    ],
)
def test_a_missing_file_comes_with_a_hint(tmp_path, there, written, hint):
    touch(tmp_path, there)
    (tmp_path / "clips.csv").write_text(f"clip\n{written}\n", encoding="utf-8")
    (fault,) = [fault for fault in read_collection(tmp_path / "clips.csv").faults if fault.code == "missing-file"]
    assert hint in fault.detail


def test_a_label_in_another_unicode_form_comes_with_a_hint(tmp_path):
    nfd = unicodedata.normalize("NFD", "\u00fc.mp4")
    official(tmp_path, [f"train-1/{nfd}"], {"training": {"\u00fc.mp4": (0.5,) * len(TRAITS)}})
    (fault,) = [fault for fault in read_collection(tmp_path).faults if fault.code == "label-without-clip"]
    assert "the Unicode form" in fault.detail


@pytest.mark.parametrize("head", ["sep=;\nclip;openness\n", '"sep=;"\r\nclip;openness\r\n', "sep=\t\nclip\topenness\n"])
def test_excels_line_on_the_separator(tmp_path, head):
    touch(tmp_path, "a.mp4")
    separator = "\t" if "\t" in head else ";"
    (tmp_path / "clips.csv").write_bytes(f"{head}a.mp4{separator}0.5\n".encode())
    (clip,) = read_collection(tmp_path / "clips.csv").clips
    assert clip.traits[4] == 0.5


def test_the_page_lists_the_formats():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if line.startswith(("| films |", "| sounds |"))]
    assert {f".{word}" for line in listed for word in line.split("|")[2].split()} == SUFFIXES
