import os
import pickle
import pickletools
import subprocess
import sys
import time

import numpy as np
import pytest
from places import CASES

from apt_lightning.common.errors import DataError
from apt_lightning.common.traits import TRAITS
from apt_lightning.data.collection.annotations import (
    load_pickle,
    read_annotations,
    read_demographics,
    read_transcripts,
)

CLIPS = ("-aB_3456789.000.mp4", "zzzzzzzzzzz.005.mp4")
KEYS = (*TRAITS, "interview")


def save(path, data):
    path.write_bytes(data if isinstance(data, bytes) else pickle.dumps(data, protocol=2))
    return path


def python2_labels(value=0.25):
    """The bytes that Python 2's cPickle wrote: byte strings, memo numbers, one shared dtype."""
    state = b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    dtype = b"cnumpy\ndtype\nq\x03U\x02f8K\x00K\x01\x87Rq\x04" + state
    head = b"cnumpy.core.multiarray\nscalar\nq\x02" + dtype
    raw = np.float64(value).tobytes()
    out = b"\x80\x02}q\x01("
    for number, trait in enumerate(KEYS):
        scalar = (head if number == 0 else b"h\x02h\x04") + b"U\x08" + raw + b"\x86R"
        out += b"U" + bytes([len(trait)]) + trait.encode() + b"}(U\x13" + CLIPS[0].encode() + scalar
        out += b"U\x13" + CLIPS[1].encode() + b"G?\xe8\x00\x00\x00\x00\x00\x00u"
    return out + b"u."


def test_reads_what_python_2_wrote(tmp_path):
    data = python2_labels()
    assert pickle.loads(data, encoding="latin1")["openness"][CLIPS[0]] == 0.25  # the bytes are well formed
    labels = read_annotations(save(tmp_path / "annotation_training.pkl", data))
    assert labels == {key: {CLIPS[0]: 0.25, CLIPS[1]: 0.75} for key in KEYS}
    assert all(type(value) is float for column in labels.values() for value in column.values())


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [float, np.float64, np.float32, lambda v: np.dtype(">f8").type(v)])
def test_reads_every_protocol_of_python_3(tmp_path, protocol, kind):
    wanted = {key: {clip: kind(0.125 * (i + 1)) for i, clip in enumerate(CLIPS)} for key in KEYS}
    path = save(tmp_path / "a.pkl", pickle.dumps(wanted, protocol=protocol))
    assert read_annotations(path) == wanted


def test_big_endian_scalar(tmp_path):
    little = pickle.dumps(np.float64(0.3), protocol=2)
    big = little.replace(b"X\x01\x00\x00\x00<", b"X\x01\x00\x00\x00>")
    assert big != little
    assert load_pickle(save(tmp_path / "b.pkl", big)) == np.float64(0.3).byteswap()


@pytest.mark.parametrize("text", [b"U\x04caf\xe9", b"U\x05caf\xc3\xa9", b"X\x05\0\0\0caf\xc3\xa9"])
def test_transcripts_in_latin1_or_utf_8(tmp_path, text):
    path = save(tmp_path / "t.pkl", b"\x80\x02}U\x05a.mp4" + text + b"s.")
    assert read_transcripts(path) == {"a.mp4": "café"}


class Bomb:
    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    "thing",
    [
        Bomb(os.system, "touch HACKED"),
        Bomb(eval, "open('HACKED', 'w')"),
        Bomb(os.putenv, "a", "b"),
        Bomb(getattr, "a", "b"),
        np.zeros(3),
        np.int64(3),
        np.array(["a"], object),
        {"a": {1, 2}},
        {"a": (1, 2)},
        [1],
        object(),
        len,
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_refuses_everything_else(tmp_path, monkeypatch, thing, protocol):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "evil.pkl", pickle.dumps(thing, protocol=protocol))
    with pytest.raises(DataError, match=r"evil\.pkl: refused as a pickle of labels or transcripts: it "):
        load_pickle(path)
    assert not (tmp_path / "HACKED").exists()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "numbers more objects than it can hold"),  # 32 GiB of memo
        (
            b"\x80\x02}(" + b"(" * 200_000 + b"t" * 200_000 + b"K\x01u.",
            "holds tuples",
        ),  # C stack overflow in the hash
        (b"\x80\x02Nq\x00" + b"cnumpy\ndtype\nU\x02f8h\x00K\x00\x87q\x00R0" * 9 + b".", "instruction POP"),
        (b"\x80\x02}Nq\x00" + b"cnumpy\ndtype\nU\x02f8h\x00K\x00\x87q\x00R" * 9 + b"u.", "holds tuples"),
        (b"\x80\x02cnumpy.core.multiarray\nscalar\nN}U\x0c__defaults__K\x01s\x86b.", "changes a function"),
        (b"\x80\x02cnumpy\ndtype\nN}U\x04codeK\x01s\x86b.", "refused"),
        (b"\x80\x02cos\nsystem\nU\x02ls\x85R.", "asks for os.system"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"\x80\x02Pid\n.", "instruction PERSID"),
        (b"", "refused"),
        (b"<html>not found</html>", "is an HTML page"),
        (b"\x80\x02}U\x05a", "refused"),
    ],
)
def test_refuses_what_would_crash_or_exhaust_the_unpickler(tmp_path, data, match):
    with pytest.raises(DataError, match=match):
        load_pickle(save(tmp_path / "evil.pkl", data))


def test_size_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr("apt_lightning.data.collection.annotations.MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger than"):
        load_pickle(save(tmp_path / "a.pkl", {"a": "b" * 20}))


@pytest.mark.parametrize(
    ("table", "match"),
    [
        (
            "text",
            "expected a dict with the keys extraversion, .*openness, interview, but got a value of type str",
        ),
        ({"openness": {}}, r"but got a dict with 1 keys \(openness"),
        ({**{t: {} for t in KEYS}, "x": {}}, "but got a dict with 7 keys"),
        (
            dict.fromkeys(KEYS, 0.5),
            "extraversion: expected a dict of clip and value, but got a value of type float",
        ),
        ({t: {3: 0.5} for t in KEYS}, "it has keys that are no texts"),
        ({t: {"a.mp4": "high"} for t in KEYS}, "extraversion: 'a.mp4': expected a number"),
        ({t: {"a.mp4": True} for t in KEYS}, "expected a number, but got a value of type bool"),
    ],
)
def test_label_files_of_another_shape(tmp_path, table, match):
    with pytest.raises(DataError, match=match):
        read_annotations(save(tmp_path / "a.pkl", table))


def test_labels_out_of_range_are_left_to_the_collection(tmp_path):
    table = {t: {"a.mp4": 7, "b.mp4": float("nan"), "c.mp4": 10**400} for t in TRAITS}
    labels = read_annotations(save(tmp_path / "a.pkl", table))
    assert labels["openness"]["a.mp4"] == 7.0 and labels["openness"]["c.mp4"] == float("inf")


@pytest.mark.parametrize("table", [[], {"a.mp4": 3}, {3: "text"}, {"a.mp4": None}])
def test_transcript_files_of_another_shape(tmp_path, table):
    with pytest.raises(DataError):
        read_transcripts(save(tmp_path / "t.pkl", table))


def test_no_instruction_of_real_files_is_unknown_to_pickletools():
    assert {opcode.name for opcode, _, _ in pickletools.genops(python2_labels())} >= {
        "SHORT_BINSTRING",
        "BUILD",
    }


def test_demographics_by_header_name(tmp_path):
    gender = tmp_path / "eth_gender_annotations_dev.csv"
    gender.write_text("Gender;VideoName;Ethnicity\n2;a.000.mp4;3\n1;-b.001.mp4;\n")
    assert read_demographics(gender) == {
        "a.000.mp4": {"gender": "female", "ethnicity": "African-American"},
        "-b.001.mp4": {"gender": "male"},
    }
    age = tmp_path / "age_anno_dev.csv"
    age.write_text("VideoName,AgeGroup\na.000.mp4,4\n")
    assert read_demographics(age) == {"a.000.mp4": {"age": "19-24"}}
    gender.write_text("VideoName;Ethnicity;Gender\na.000.mp4;1;9\n")
    with pytest.raises(DataError, match=r"row 2, column Gender: expected a code of 1, 2, but got '9'"):
        read_demographics(gender)


def colliding(n):
    """Pickle of a dict of integers that all have one hash; reading it as it stands takes quadratic time."""
    items = [pickle.dumps(1 + i * (2**61 - 1), protocol=2)[2:-1] + b"K\x00" for i in range(n)]
    return b"\x80\x02}(" + b"".join(items) + b"u."


ODD_KEYS = [
    colliding(3),
    pickle.dumps({0.5: 1}),
    pickle.dumps({None: 1}),
    pickle.dumps({b"a": 1}, protocol=4),
    b"\x80\x02}K\x01K\x02s.",  # SETITEM
    b"\x80\x02(K\x01K\x02d.",  # DICT
    b"\x80\x02K\x01q\x05}(h\x05K\x02u.",  # by way of the memo
]


@pytest.mark.parametrize("data", ODD_KEYS)
def test_nothing_but_texts_is_hashed(tmp_path, data):
    with pytest.raises(DataError, match="refused as a pickle of labels or transcripts: "):
        load_pickle(save(tmp_path / "a.pkl", data))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x80\x02(" + b"}" * (63 << 20) + b"0.", "larger than 16 MiB"),
        (b"\x80\x02(" + b"}" * (15 << 20) + b"d.", "it has more than 1000000 instructions"),
        (colliding(20_000), "it has keys that are no texts"),
        (b"\x80\x02}(" + b"".join(b"U\x06%06dK\x01" % i for i in range(490_000)) + b"u.", None),
    ],
    ids=["63 MB", "15 MB of dicts", "colliding", "as much as is read"],
)
def test_time_and_memory_are_bounded(tmp_path, data, match):
    save(tmp_path / "a.pkl", data)
    code = (
        "import resource, sys\n"
        "from apt_lightning.common.errors import DataError\n"
        "from apt_lightning.data.collection.annotations import load_pickle\n"
        "try: load_pickle(sys.argv[1]); print('read')\n"
        "except DataError as error: print(error)\n"
        # not ru_maxrss, which begins at the size of the process that forked
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
        "print(int(peak) >> 10, resource.getrusage(resource.RUSAGE_SELF).ru_utime)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.pkl"], capture_output=True, text=True, check=True)
    said, cost = done.stdout.splitlines()
    mebibytes, seconds = map(float, cost.split())
    assert (match or "read") in said and mebibytes < 400 and seconds < 15, cost
    print(f"{mebibytes:.0f} MiB, {seconds:.1f} s")


@pytest.mark.skipif(not CASES.exists(), reason="the shared cases are not here")
def test_shared_case_of_colliding_keys():
    start = time.process_time()
    with pytest.raises(DataError, match="it has keys that are no texts"):
        load_pickle(CASES / "hash_collision.pkl")
    assert time.process_time() - start < 1
