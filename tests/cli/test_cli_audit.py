import csv
import json

import numpy as np

from apt_lightning.cli import main
from apt_lightning.common.traits import TRAITS


def write_csv(folder, n=60, shuffled=False, copies=()):
    """Clips as files of a few bytes: the audit opens none."""
    rng = np.random.default_rng(0)
    common = rng.normal(0, 0.12, (n, 1))
    labels = np.clip(0.5 + common + rng.normal(0, 0.06, (n, 5)), 0, 1)
    if shuffled:
        labels[:, 3] = rng.permutation(labels[:, 3])
    with open(folder / "clips.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "source", "split", *TRAITS, "transcript"])
        for i in range(n):
            name = f"v{i // 3:02}.{i % 3:03}.mp4"
            (folder / name).write_bytes(b"%03d" % (copies[1] if copies and i == copies[0] else i))
            split = "test" if i // 3 % 4 == 0 else "train"
            writer.writerow([name, f"v{i // 3:02}", split, *labels[i], f"words of clip {i} are these"])
    return folder / "clips.csv"


def test_a_sound_csv(tmp_path, capsys):
    assert main(["audit", str(write_csv(tmp_path, 200)), "--json", str(tmp_path / "a.json")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("verdict:") and "0 errors" in out and "train and test" in out and "| " not in out
    assert main(["audit", str(tmp_path / "clips.csv"), "--all"]) == 0
    whole = capsys.readouterr().out
    assert whole.startswith(out.partition("\n\n`--all`")[0]) and "| source look-up, no content" in whole
    found = json.loads((tmp_path / "a.json").read_text())
    assert found["splits"]["test"]["clips"] == 51 and found["shared_sources"] == {"train and test": 0}


def test_errors_set_the_exit_status(tmp_path, capsys):
    assert main(["audit", str(write_csv(tmp_path, 200, shuffled=True, copies=(0, 5)))]) == 1
    out = capsys.readouterr().out
    assert "error:    train: CON correlates with no other trait" in out and "[shuffled]" in out
    assert "error:    test and train (1): the same file under several names" in out
    assert "v00.000.mp4 = v01.002.mp4 [duplicate-files]" in out


def test_no_data_is_one_line_and_status_2(tmp_path, capsys):
    assert main(["audit", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
