"""Wrong command lines and YAMLs: each gets one line with what was given and the nearest that is right."""

import subprocess
import sys

import pytest
import yaml
from places import CONFIGS

from apt_lightning.cli import main

AUDIO = f"--config={CONFIGS / 'stage1_audio.yaml'}"
THIRD = f"--config={CONFIGS / 'stage3.yaml'}"
DEMO = f"--config={CONFIGS / 'runs/demo.yaml'}"

LIGHT = [
    ("scor", "no command 'scor'; did you mean `apt score`?"),
    ("-x", "no command '-x'; `apt --help` lists them"),
    ("fit", "no stage is given; `apt fit --config stage1_audio.yaml --data.store STORE` trains the first"),
    ("fit stage3", "no stage is given"),
    ("fit --config=stage5.yaml", "no file stage5.yaml; with the package come"),
    ("score a.mp4", "`--checkpoint` must be given"),
    ("score a.mp4 --checkpont=x", "no option `--checkpont`; did you mean `--checkpoint`?"),
    ("score --checkpoint=x", "CLIPS must be given"),
    ("score -zz.mp4 --checkpoint=x", "no option `-zz.mp4`; a file of that name is given as `./-zz.mp4`"),
    ("score a.mp4 --checkpoint=x --explian", "did you mean `--explain`?"),
    ("score a.mp4 --check=x", "no option `--check`; did you mean `--checkpoint`?"),
    ("compare a", "B must be given"),
    ("compare a b --level=x", "`--level` must be a number, but is 'x'"),
    ("compare a b --level=2", "`--level` must lie between 0 and 1"),
    ("compare a b --resample=5", "no option `--resample`; did you mean `--resamples`?"),
    ("compare a b c", "'c' is one word too many"),
    ("sweep x.yaml", "`--run` must be given"),
    ("sweep x.yaml --run=y --trials=0", "`--trials` must be 1 or more, but is 0"),
    ("sweep x.yaml --run=y --trails=9", "no option `--trails`; did you mean `--trials`?"),
    ("completion fish", "SHELL is 'fish'; it can be bash, zsh"),
    ("report", "RUNS must be given"),
    ("report x --out=y", "no option `--out`; did you mean `--output`?"),
    ("prepare x", "STORE must be given"),
    ("prepare a b --decoder=ffmpeg", "`--decoder` is 'ffmpeg'; it can be pyav, decord"),
    ("prepare a b --retyr", "no option `--retyr`; did you mean `--retry`?"),
    ("doctor", "DATA must be given"),
    ("doctor x --n-frames=abc", "`--n-frames` must be a whole number, but is 'abc'"),
    ("synthesize x --fps=a", "`--fps` must be a number, but is 'a'"),
    ("leaderboard pages x", "ACTION is 'pages'; did you mean 'page'?"),
    ("evaluate x", "`--data` must be given"),
    ("audit x --jsn=3", "no option `--jsn`; did you mean `--json`?"),
    ("demo --clip=9", "no option `--clip`; did you mean `--clips`?"),
]
"""Commands that need no torch."""

HEAVY = [
    (f"run {DEMO} --seed=1", "no option `--seed`; did you mean `--seeds`?"),
    (f"run {DEMO} --fold=5", "no option `--fold`; did you mean `--folds`?"),
    (f"run {DEMO} --seeds=a,b", "`--seeds` must be a whole number, but is 'a'"),
    (f"run {DEMO} --isolate=maybe", "`--isolate` must be true or false, but is 'maybe'"),
    (f"run {DEMO} --folds=two", "`--folds` must be a whole number or null, but is 'two'"),
    (f"run {DEMO} --stages=nowhere", "no feature store at demo/store"),
    ("run --out=x", "`--store` must be given"),
    (f"run {DEMO} --seeds=[]", "`--seeds` must name each seed once, from 0 and below 2^32, but is []"),
    (f"run {DEMO} --seeds=1,1", "`--seeds` must name each seed once"),
    (f"run {DEMO} --seeds=-1", "`--seeds` must name each seed once"),
    (f"fit {AUDIO} --data.fold=2", "`--data.fold=2` needs the file of folds, `--data.folds`"),
    (f"fit {AUDIO} --trainer.accelerator=tpuu", "these settings cannot be used: You selected an invalid accelerator"),
    (f"fit {THIRD} --model.checkpoints=x", "`--model.checkpoints` must be a mapping or null, but is 'x'"),
    ("encode x audio --encoder=timm:y --fps=0", "`--fps` must be above 0, but is 0.0"),
    ("encode x audio --encoder=timm:y --segment=-1", "`--segment` must be 0 or more, but is -1.0"),
    ("encode x mine --encoder=timm:y", "say what mine is made of: `--reads sound`"),
    (f"ablate {DEMO} --overlays=x", "no option `--overlays`; did you mean `--overlay`?"),
    ("fit --confg=x", "no option `--confg`; did you mean `--config`?"),
    (f"fit {AUDIO} --trainer.max_epoch=3", "no option `--trainer.max_epoch`; did you mean `--trainer.max_epochs`?"),
    (f"fit {AUDIO} --trainer.gpus=2", "did you mean `--trainer.devices`?"),
    (f"fit {AUDIO} --epochs=3", "no option `--epochs`; did you mean `--trainer.max_epochs`?"),
    (f"fit {AUDIO} --mixed-precision=true", "did you mean `--mixed_precision`?"),
    (f"fit {AUDIO} --batch_size=3", "did you mean `--data.batch_size`?"),
    (f"fit {AUDIO} --model.learning_rate=3", "did you mean `--model.lr`?"),
    (f"fit {AUDIO} --model.dropot=.2", "no option `--model.dropot`; did you mean `--model.dropout`?"),
    (f"fit {AUDIO} --model.lr=abc", "`--model.lr` must be a number, but is 'abc'"),
    (f"fit {AUDIO} --model.hidden_dims=9,b", "`--model.hidden_dims` must be a whole number, but is 'b'"),
    (f"fit {THIRD} --model.loss=tripet", "`--model.loss` is 'tripet'; did you mean 'triplet'?"),
    (f"fit {THIRD} --model.lr", "expected one argument"),
    ("fit --model=FusionModul", "`--model` is FusionModul, which is no stage; did you mean FusionModule?"),
    (f"fit {AUDIO} --patience=x", "`--patience` must be a whole number or null, but is 'x'"),
    (f"fit {AUDIO} --log_to=wand", "`--log_to` is 'wand'; did you mean 'wandb'?"),
    (f"fit {AUDIO} --data.augment=maybe", "`--data.augment` must be true or false, but is 'maybe'"),
    (f"fit {AUDIO} --data.batch_size", "`--data.batch_size`: expected one argument"),
    (f"fit {AUDIO} --trainer.max_epochs=1.5", "`--trainer.max_epochs` must be a whole number or null, but is '1.5'"),
    (
        f"fit {AUDIO} --trainer.precision=7",
        "32-true, 64-true, bf16\n",
    ),
    (f"fit {AUDIO} --trainer.deterministic=warm", "did you mean 'warn'?"),
    (f"fit {AUDIO} --trainer.callbacks=5", "`--trainer.callbacks` cannot be '5'"),
    (f"fit {AUDIO} extra", "'extra' is one word too many"),
    ("test --ckpt=x", "no option `--ckpt`; did you mean `--ckpt_path`?"),
    ("test --ckpt_path=nowhere.ckpt", "no checkpoint at nowhere.ckpt"),
    ("predict --checkpoint=x", "no option `--checkpoint`; did you mean `--ckpt_path`?"),
    ("validate --split=test", "no option `--split`"),
]

YAML = [
    ({"patience": "patienc"}, "no option `--patienc`; did you mean `--patience`?"),
    ({"batch_size": "batchsize"}, "no option `--data.batchsize`; did you mean `--data.batch_size`?"),
    ({"max_epochs": "max_epoch"}, "did you mean `--trainer.max_epochs`?"),
    ({"weight_decay": "weightdecay"}, "no option `--model.weightdecay`; did you mean `--model.weight_decay`?"),
    ({"max_epochs: 100": "max_epochs: many"}, "`--trainer.max_epochs` must be a whole number or null, but is 'many'"),
    ({"lr: 1.0e-3": "lr: fast"}, "`--model.lr` must be a number, but is 'fast'"),
    ({": ModalityModule": ": ModalityModul"}, "did you mean ModalityModule?"),
    ({": ModalityModule": ": torch.nn.Linear"}, "`--model` is torch.nn.Linear, which is no stage"),
    ({"  init_args:\n": "", "    ": "  "}, "a level deeper under `init_args:`"),
    ({"model:": "model: ["}, "is no YAML, at line"),
]


def one_line(words, line, capsys):
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("apt: error: ") and captured.err.count("\n") == 1 and not captured.out
    assert line in captured.err and len(captured.err) < 400


@pytest.mark.parametrize(("words", "line"), [*LIGHT, *HEAVY], ids=lambda x: x.replace(str(CONFIGS), "")[:50])
def test_a_wrong_line_gets_one_line(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one_line(words.split(), line, capsys)


PLACES = [
    ("fit --config=folder", "folder is a folder; `--config` takes one YAML file of it"),
    ("configs file", "file is not empty: name a new folder"),
    ("synthesize file", "file is a file where a folder is needed; give another place"),
    ("run --store=file --out=x", "no feature store at file; make one with `apt prepare DATA file`"),
    ("report x --output=folder", "`--output` is folder, a folder; give a file"),
    ("score x.mp4 --checkpoint=y --report=folder", "`--report` is folder, a folder; give a file"),
    ("audit file --json=folder", "`--json` is folder, a folder; give a file"),
    ("prepare file x --vectors=missing.txt", "file: row 1: column clip is missing"),
    ("evaluate missing.csv --data=file", "file: row 1: column clip is missing"),
    ("sweep missing.yaml --run=x", "missing.yaml is no readable YAML: No such file or directory"),
    ("sweep empty.yaml --run=x", "empty.yaml: expected W&B's sweep form"),
    ("run --config=empty.yaml", "must hold `key: value` lines, but begins ''"),
    ("fit --config=binary.yaml", "binary.yaml is not UTF-8 (byte 128)"),
    ("test --ckpt_path=folder", "folder holds no best.ckpt; give a checkpoint, or the folder of a stage"),
    ("test --ckpt_path=file", "file is not a readable checkpoint"),
    ("export missing x", "no checkpoint of any stage at missing; make it with `apt run`"),
    ("score file --checkpoint=x --trainer.accelerator=gpuu", "`--trainer.accelerator=gpuu` cannot be used: You"),
    ("doctor folder", "folder: holds no clip"),
    ("card file", "no feature store at file"),
    ("serve file --host=192.0.2.1", "nothing can listen at `--host 192.0.2.1 --port 8000`"),
    ("compare file file", "file is no prediction table"),
]


@pytest.mark.parametrize(("words", "line"), PLACES, ids=lambda x: x[:50])
def test_a_wrong_place_gets_one_line(words, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name, content in {"file": b"x", "empty.yaml": b"", "binary.yaml": bytes(range(256))}.items():
        (tmp_path / name).write_bytes(content)
    one_line(words.split(), line, capsys)


@pytest.mark.parametrize(("changes", "line"), YAML, ids=lambda x: str(x)[:50])
def test_a_wrong_yaml_gets_one_line(changes, line, capsys, tmp_path):
    text = (CONFIGS / "stage1_audio.yaml").read_text()
    for right, wrong in changes.items():
        assert right in text
        text = text.replace(right, wrong)
    (tmp_path / "mine.yaml").write_text(text)
    one_line(["fit", f"--config={tmp_path / 'mine.yaml'}"], line, capsys)


def test_what_needs_no_torch_answers_without_it():
    code = (
        "import sys; from apt_lightning.cli import main; lines = sys.argv[1:];"
        "assert all(main(line.split()) == 2 for line in lines);"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *(words for words, _ in LIGHT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("written", ["--seeds=1,2", "--seeds=[1,2]", "--seeds 1,2", "--seeds [1,2]"])
def test_a_list_is_understood_with_and_without_brackets(written, monkeypatch):
    from apt_lightning.cli import run

    seen = {}
    monkeypatch.setattr(run, "run", lambda args: seen.update(args.as_dict()) or 0)
    assert main(["run", DEMO, *written.split()]) == 0
    assert seen["seeds"] == [1, 2]


def test_a_file_that_begins_like_an_option_is_found(tmp_path, monkeypatch):
    from apt_lightning.cli import evaluate

    seen = {}
    monkeypatch.setattr(evaluate, "run", lambda args: seen.update(args.as_dict()) or 0)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-Zx3.csv").write_text(yaml.safe_dump({}))
    assert main(["evaluate", "-Zx3.csv", "--data=x"]) == 0
    assert seen["files"] == ["./-Zx3.csv"]
