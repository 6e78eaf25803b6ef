"""What is printed: tables fit the terminal, a pipe gets no carriage return and no colour, JSON says what it means."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import apt_lightning
from apt_lightning.cli import main
from apt_lightning.common.console import bar, logged, progress, say
from apt_lightning.common.tables import fit, render
from apt_lightning.common.traits import TRAITS
from apt_lightning.stages.fusion import FusionModule
from apt_lightning.training.callbacks import TrainingBar

cell = st.text(st.sampled_from("abc.1 |"), max_size=40)


@given(st.integers(1, 9).flatmap(lambda n: st.lists(st.lists(cell, min_size=n, max_size=n), min_size=1, max_size=5)))
@settings(max_examples=200, deadline=None)
def test_no_line_of_a_table_is_wider_than_the_terminal_and_no_cell_is_lost(rows):
    head, *body = rows
    text = fit(render(head, body), 80)
    assert all(len(line) <= 80 for line in text.split("\n"))
    kept = "".join(sorted(text.replace("\\|", "!"))).replace(" ", "")
    for character in "abc1!":
        given_ = sum(row.replace("|", "!").count(character) for line in rows for row in line)
        first = sum(line[0].replace("|", "!").count(character) for line in rows)
        assert given_ <= kept.count(character) <= given_ + first * len(head)


def test_a_table_that_fits_and_prose_stay_as_they_are():
    text = "prose " * 40 + "\n\n" + render(["a", "b"], [["x", "1"]])
    assert fit(text, 80) == text


def test_wide_tables_are_dealt_evenly_with_their_first_column():
    rows = [[f"system {i}", *(f".{i}{j}00 [.8000, .9000]" for j in range(6))] for i in range(3)]
    found = fit(render(["", *"abcdef"], rows), 80).split("\n\n")
    assert [len(block.split("\n")[0].split("|")) - 3 for block in found] == [2, 2, 2]
    assert all("system 2" in block for block in found)


def test_a_second_column_is_broken_below_its_begin():
    line = "shared sources:          " + "train and test 5, " * 6
    first, *others = fit(line, 60, prose=True).split("\n")
    assert first.startswith("shared sources:          train") and len(others) > 1
    assert all(other.startswith((" " * 25 + "t", " " * 25 + "a")) for other in others)
    assert fit("- " + "word " * 20, 40, prose=True).split("\n")[1].startswith("  word")
    assert fit("word " * 20, 40, prose=True).split("\n")[1].startswith("word")


def test_scores_fit_80_columns_and_each_row_says_what_it_is():
    from apt_lightning.cli.score import _table

    scores = dict.fromkeys(TRAITS, 0.4567)
    told = {"modalities": ["audio", "visual"], "notes": ["no text: no transcript given"], "traits": scores}
    told |= {"intervals": dict.fromkeys(TRAITS, (0.31, 0.62)), "higher_than": scores, "warnings": ["it is unlike all"]}
    paths = [f"data/of a study/{'long-' * 9}name/{name}.mp4" for name in ("1bUyiuEfIYF.001", "a" * 60, "b")]
    results = [told | {"clip": path} for path in paths[:2]] + [{"clip": paths[2], "error": "no-streams: nothing"}]
    text = fit(_table(results), 80, prose=True)
    assert all(len(line) <= 80 for line in text.split("\n"))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.split("\n") if line.startswith("| ")]
    assert len(rows) == 2 + 3 + 3 + 1 and all(len(row) == 6 and all(row) for row in rows)
    assert rows[2] == ["1bUyiuEfIYF.001.mp4", *[".457"] * 5] and rows[3][:2] == ["- 90 % interval", ".31-.62"]
    assert rows[8] == ["b.mp4", *"-----"]
    for said in ("1bUyiuEfIYF.001.mp4: by audio, visual; no text", "b.mp4: no-streams", "aaa.mp4: it is unlike all."):
        assert said in " ".join(text.split())


def test_help_fits_80_columns():
    from apt_lightning.cli import usage

    assert max(map(len, usage().split("\n"))) <= 80


def test_width_is_that_of_the_terminal(monkeypatch, capsys):
    table = render(["a", "b", "c"], [["x" * 20, "y" * 20, "z" * 20]])
    monkeypatch.setenv("COLUMNS", "60")
    say(table)
    narrow = capsys.readouterr().out
    assert max(map(len, narrow.split("\n"))) <= 60 and narrow.count("x" * 20) == 2
    monkeypatch.setenv("COLUMNS", "100")
    say(table)
    assert capsys.readouterr().out == table + "\n"


@pytest.fixture
def clips(tmp_path):
    lines = [
        f"s{i // 2}.{i % 2}.mp4,s{i // 2},train,{','.join(['0.5', '0.4', '0.6', '0.3', '0.7'])}" for i in range(40)
    ]
    path = tmp_path / "clips.csv"
    path.write_text("\n".join([f"clip,source,split,{','.join(TRAITS)}", *lines]) + "\n")
    return path


def test_a_pipe_gets_lines_and_nothing_else(clips, tmp_path):
    words = [sys.executable, "-m", "apt_lightning", "doctor", str(clips)]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"})
    assert b"\r" not in done.stdout + done.stderr and b"\x1b" not in done.stdout + done.stderr
    lines = done.stdout.decode().split("\n")
    assert lines[0].startswith("40 clips given") and len(lines) < 25  # not one a clip
    assert max(map(len, lines)) <= 80


def test_json_alone_is_all_that_is_printed_and_says_what_it_means(clips, capsys):
    main(["doctor", str(clips), "--json", "-"])
    found = json.loads(capsys.readouterr().out)
    assert found["clips"] == 40 and len(found["faults"]) == 80 and "high is calm" in found["about"]["neuroticism"]
    main(["audit", str(clips), "--json=-"])
    assert json.loads(capsys.readouterr().out)["about"]["level"] == 0.95
    main(["doctor", str(clips), "--all"])
    assert capsys.readouterr().out.count("missing-file") == 40


def test_quiet_leaves_out_progress_only(capsys, monkeypatch):
    monkeypatch.setenv("APT_QUIET", "1")
    say("[1/9] training", progress=True)
    say("result")
    assert capsys.readouterr().out == "result\n"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "quiet", "total", "seen"),
    [
        (Terminal, False, 3, True),
        (Terminal, True, 3, False),
        (Terminal, False, 0, False),
        (io.StringIO, False, 3, False),
    ],
)
def test_a_bar_is_for_a_terminal_that_wants_it_and_for_work_to_do(stream, quiet, total, seen, monkeypatch):
    monkeypatch.setattr("sys.stderr", stream())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    if quiet:
        monkeypatch.setenv("APT_QUIET", "1")
    with bar(total, "clips", "clip") as shown:
        shown.update()
    assert list(progress(["a"] * total, "files", "file")) == ["a"] * total
    written = sys.stderr.getvalue()
    assert ("clips" in written) == ("files" in written) == seen


def test_every_bar_is_made_in_one_place():
    """Else one shows in spite of `--quiet`."""
    package = Path(apt_lightning.__file__).parent
    makers = [path for path in package.rglob("*.py") if re.search(r"\btqdm\(", path.read_text())]
    assert makers == [package / "common" / "console.py"]


def test_the_bar_of_a_training_shows_its_metric_in_80_columns(monkeypatch):
    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    shown = TrainingBar()
    trainer = SimpleNamespace(is_global_zero=True, num_training_batches=40, max_epochs=100, global_step=0)
    trainer.progress_bar_metrics, trainer.current_epoch = {"val/accuracy": 0.91234}, 99
    module = FusionModule.__new__(FusionModule)
    monkeypatch.setattr(FusionModule, "stage", "stage1_features")
    monkeypatch.setenv("COLUMNS", "80")
    shown.on_train_start(trainer, module)
    shown.on_train_epoch_end(trainer, module)
    shown.teardown(trainer, module, "fit")
    last = sys.stderr.getvalue().split("\r")[-1].rstrip("\n")
    assert len(last) <= 80 and last.startswith("stage1_features:") and last.endswith("epoch=100, val/accuracy=0.9123")


def test_log_holds_what_was_said_and_how_it_ended(tmp_path, capsys):
    with pytest.raises(ValueError, match="reason"), logged(tmp_path / "run" / "log.txt"):
        say("one", progress=True)
        raise ValueError("reason")
    say("after")
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert [line[20:] for line in lines] == ["one", "ValueError: reason"]
