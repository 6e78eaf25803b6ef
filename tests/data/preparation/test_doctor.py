"""`apt doctor`: the same faults as preparation, in tables that account for every clip."""

import csv
import json
import re
import subprocess
import sys
import time

import numpy as np
import pytest
from fake_sets import OPTIONS, make_set
from places import CLIPS, HELPERS, ROOT

from apt_lightning.cli import main
from apt_lightning.common.errors import StoreError
from apt_lightning.common.files import digest
from apt_lightning.data.faults import FAULTS, Fault, Outcome
from apt_lightning.data.preparation.doctor import Diagnosis, examine_data, examine_store
from apt_lightning.data.preparation.prepare import prepare
from apt_lightning.data.preparation.share import Options
from apt_lightning.data.store.reader import Store
from apt_lightning.data.store.writer import ShardWriter


@pytest.fixture(autouse=True)
def _fake_extract_importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(HELPERS))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    behaviours = [{}, {"do": "no audio"}, {"do": "unreadable"}, None, {"do": "hang"}, {"do": "die"}]
    return make_set(tmp_path / "data", behaviours)


def test_doctor_and_prepare_agree(data, tmp_path):
    options = Options(extract=OPTIONS.extract, seconds=1.5)
    before = examine_data(data, options)
    prepare(data, tmp_path / "store", options)
    after = examine_store(Store.open(tmp_path / "store"))
    assert before.statuses == after.statuses
    assert sorted((fault.clip, fault.code) for fault in before.faults) == sorted(
        (fault.clip, fault.code) for fault in after.faults
    )
    assert before.counts() == "6 clips given = 1 ok + 1 degraded + 4 left out"
    assert {fault.code for fault in before.faults} == {
        "no-audio",
        "not-a-video",
        "missing-file",
        "timeout",
        "decoder-crash",
    }


def test_severity_and_exit_status():
    def diagnosis(*codes):
        return Diagnosis({"a": "ok"}, [Fault(code, "a", "") for code in codes])

    assert diagnosis().severity() == Outcome.HANDLED
    assert diagnosis("rotated").severity() == Outcome.HANDLED
    assert diagnosis("rotated", "no-audio").severity() == Outcome.DEGRADED
    assert diagnosis("missing-file", "no-audio").severity() == Outcome.LEFT_OUT
    assert diagnosis("label-out-of-range", "no-audio").severity() == Outcome.STOPS


def test_reports(tmp_path):
    faults = [Fault("no-audio", "-ä,b.mp4", 'say "x"'), Fault("rotated", "c.mp4", "")]
    diagnosis = Diagnosis({"-ä,b.mp4": "degraded", "c.mp4": "ok"}, faults)
    diagnosis.write(tmp_path / "r.csv")
    with open(tmp_path / "r.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["clip"], row["code"], row["outcome"], row["detail"]) for row in rows] == [
        ("-ä,b.mp4", "no-audio", "degraded", 'say "x"'),
        ("c.mp4", "rotated", "handled", ""),
    ]
    diagnosis.write(tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (found["clips"], found["ok"], found["degraded"], found["left out"]) == (2, 1, 1, 0)
    assert [fault["clip"] for fault in found["faults"]] == ["-ä,b.mp4", "c.mp4"]
    table = diagnosis.table().splitlines()
    assert len(table) == 6 and table[2].split("|")[1].strip() == "clip"
    assert diagnosis.quarantine(strict=False) == [] and diagnosis.quarantine(strict=True) == ["-ä,b.mp4"]


def test_damaged_store_is_an_error(data, tmp_path):
    prepare(data, tmp_path / "store", Options(extract=OPTIONS.extract, seconds=1.5))
    for file in (tmp_path / "store" / "shards").glob("*/frames.bin"):
        file.write_bytes(b"\0" * file.stat().st_size)
    with pytest.raises(StoreError, match=r"2 of 6 clips of .* do not hold what was written"):
        examine_store(Store.open(tmp_path / "store"))


@pytest.mark.skipif(not CLIPS.exists(), reason="the shared clips are not here")
def test_command_on_the_shared_clips(tmp_path, capsys):
    report, quarantine = tmp_path / "faults.json", tmp_path / "quarantine.txt"
    assert main(["doctor", str(CLIPS), "--report", str(report), "--quarantine", str(quarantine)]) == 1
    printed = capsys.readouterr().out
    found = json.loads(report.read_text(encoding="utf-8"))
    codes = {}
    for fault in found["faults"]:
        codes.setdefault(fault["clip"], set()).add(fault["code"])
    assert found["clips"] == 14 == found["ok"] + found["degraded"] + found["left out"]
    assert "truncated" in codes["odd_truncated.mp4"] and "no-audio" in codes["odd_no_audio.mp4"]
    assert "no-video" in codes["odd_no_video.m4a"] and "rotated" in codes["odd_rotated_90.mov"]
    assert "variable-rate" in codes["odd_variable_rate.mp4"]
    assert "several-video-streams" in codes["odd_two_video_streams.mp4"]
    assert "odd_truncated.mp4" in quarantine.read_text().split()
    assert all(fault["code"] in printed for fault in found["faults"])
    assert main(["doctor", str(CLIPS), "--strict"]) == 2


def large_store(path, n):
    """A store of n rows written without decoding anything: 6 small pictures and 88 numbers a clip."""
    from dataclasses import asdict

    from apt_lightning.data.media.extraction import ExtractionSettings

    settings = json.loads(json.dumps(asdict(ExtractionSettings())))
    rng = np.random.default_rng(0)
    path.mkdir()
    media = path.parent / "media"
    media.mkdir()
    lines = ["clip,split,transcript"]
    with ShardWriter(path / "shards" / "0-0", digest(settings)) as writer:
        functionals, frame = rng.normal(size=88).astype(np.float32), rng.bytes(2000)
        for i in range(n):
            name = f"clip{i:06d}.mp4"
            (media / name).write_bytes(b"x")
            stat = (media / name).stat()
            row = {
                "name": name,
                "status": "ok",
                "faults": [],
                "sha256": f"{i:064x}",
                "size": stat.st_size,
                "mtime": stat.st_mtime_ns,
                "duration": 15.3,
                "revision": 0,
            }
            writer.append(row, functionals + i, [frame + i.to_bytes(4, "little")] * 6, [float(k) for k in range(6)])
            lines.append(f"{name},train,word{i % 50} and others")
    (media / "clips.csv").write_text("\n".join(lines) + "\n")
    (path / "manifest.json").write_text(json.dumps({"format": "to be written"}))
    return media / "clips.csv"


@pytest.mark.slow
def test_ten_thousand_rows(tmp_path):
    """Second run under 5 s, and doctor and loading in bounded memory."""
    data = large_store(tmp_path / "store", 10_000)
    command = [sys.executable, "-m", "apt_lightning", "prepare", str(data), str(tmp_path / "store")]
    assert subprocess.run(command, timeout=120).returncode == 0
    seconds = np.inf
    for _ in range(3):  # the machine may be busy
        start = time.monotonic()
        assert subprocess.run(command, timeout=60).returncode == 0
        seconds = min(seconds, time.monotonic() - start)
    code = (
        "import sys\n"
        "from apt_lightning.cli import main; from apt_lightning.data.store.reader import Store\n"
        "assert main(['doctor', sys.argv[1]]) == 0; s = Store.open(sys.argv[1]); s.vectors('audio').sum()\n"
        # not ru_maxrss, which begins at the size of the process that forked
        "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1]\n"
        "print(sum(len(s.frames(i)) for i in range(len(s))), int(peak) >> 10)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "store")], capture_output=True, text=True, timeout=120
    )
    frames, mebibytes = map(int, run.stdout.split()[-2:])
    print(f"second run {seconds:.2f} s; doctor and loading of 10,000 rows at most {mebibytes} MiB")
    assert seconds < 5 and frames == 60_000
    assert mebibytes < 300  # of which 120 are pictures mapped from the file, which the kernel may drop


def test_fault_page_and_code_agree():
    """docs/faults.md names every fault, its outcome and a test that exists."""
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `([a-z-]+)` \| (handled|degraded|left out|stops) \| (.+?) \| (.+?) \| `(.+?)` \|$", page, re.M
    )
    assert {row[0]: row[1] for row in rows} == {code: str(kind.outcome) for code, kind in FAULTS.items()}
    for _, _, sentence_, _, test in rows:
        file, _, name = test.partition("::")
        assert sentence_ and f"def {name}(" in (ROOT / "tests" / file).read_text(encoding="utf-8"), test


def test_every_test_that_the_fault_page_names_exists():
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", page)
    assert len(named) > 100
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / "tests" / file).read_text()]
    assert not missing
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \| .+? \| `", page, re.M)]
    assert numbers == list(range(1, 23))
