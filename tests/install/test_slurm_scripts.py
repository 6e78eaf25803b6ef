"""The cluster scripts, run by stand-ins of sbatch, srun and scontrol that set SLURM's variables."""

import json
import os
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from places import ROOT

from apt_lightning.common.errors import UsageError
from apt_lightning.experiments.runner import share_of

SCRIPTS = ROOT / "scripts" / "slurm"
SBATCH = """#!/bin/bash
echo "sbatch $*" >> calls
number=$(grep -c ^sbatch calls)
while [[ $1 == --* ]]; do shift; done
export SLURM_JOB_ID=$number SLURM_JOB_NUM_NODES=2 SLURM_NTASKS_PER_NODE=1 SLURM_CPUS_PER_TASK=8
export SLURM_ARRAY_TASK_ID=3 SLURM_ARRAY_TASK_COUNT=10
bash "$@" >&2 && echo "$number"
"""
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
export SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1
"$@"
"""
APT = """#!/bin/bash
printf '%s\\n' "$VIRTUAL_ENV" "$@" > "words.$SLURM_JOB_ID.$1"
[[ -n "$APT_SLEEPS" && $1 == fit ]] && { touch started; exec sleep 60; }
exit 0
"""


@pytest.fixture
def cluster(tmp_path):
    """Runs words in a folder with the stand-ins on the path; gives what each job was told."""
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "env/bin/activate").write_text('VIRTUAL_ENV=activated; export VIRTUAL_ENV; PATH="$PWD/env/bin:$PATH"\n')
    for name, text in {"sbatch": SBATCH, "srun": SRUN, "env/bin/apt-lightning": APT}.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "scontrol").write_text('#!/bin/bash\necho "$@" > requeued\n')
    (tmp_path / "scontrol").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "APT_ENV": "env", "HOME": str(tmp_path)}

    def start(*words, **more):
        return subprocess.Popen(words, cwd=tmp_path, env=environment | more)

    def run(*words, **more):
        assert start(*words, **more).wait(30) == 0
        found = {}
        for file in tmp_path.glob("words.*"):
            _, job, command = file.name.split(".")
            active, *rest = file.read_text().splitlines()
            assert active == "activated" and rest[0] == command
            found[int(job), command] = rest[1:]
        return found

    return SimpleNamespace(run=run, start=start, folder=tmp_path)


def test_the_stages_wait_for_those_that_they_need(cluster):
    told = cluster.run(str(SCRIPTS / "chain.sh"), "--partition=gpu", RUN="runs/x", STORE="some/store")
    calls = (cluster.folder / "calls").read_text().splitlines()
    assert len(calls) == 6 and all("--partition=gpu" in call for call in calls)
    waits = [re.findall(r"--dependency=afterok:([\d:]+)", call) for call in calls]
    assert waits == [[], [], [], ["1:2:3"], ["1:2:3"], ["4:5"]]
    names = [re.search(r"--job-name=apt-(\S+)", call)[1] for call in calls]
    assert names == ["stage1_audio", "stage1_visual", "stage1_text", "stage2", "stage3", "stage4"]
    for job, stage in enumerate(names, start=1):
        for command in ("fit", "test"):
            assert told[job, command][:3] == [
                f"--config={stage}.yaml",
                f"--run_dir=runs/x/{stage}",
                "--data.store=some/store",
            ]
        assert {"--ckpt_path=last", "--trainer.num_nodes=2", "--trainer.devices=1"} <= set(told[job, "fit"])
    files = json.loads(told[5, "fit"][-1].removeprefix("--model.checkpoints="))
    assert files == {m: f"runs/x/stage1_{m}/best.ckpt" for m in ("audio", "visual", "text")}
    assert told[6, "fit"][-2:] == [
        "--model.fusion_ckpt=runs/x/stage2/best.ckpt",
        "--model.siamese_ckpt=runs/x/stage3/best.ckpt",
    ]


def test_a_job_whose_time_is_nearly_over_is_queued_again(cluster):
    job = cluster.start("bash", str(SCRIPTS / "stage.sbatch"), "stage1_audio", APT_SLEEPS="1", SLURM_JOB_ID="9",
                        SLURM_JOB_NUM_NODES="1", SLURM_NTASKS_PER_NODE="1")  # fmt: skip
    for _ in range(300):
        if (cluster.folder / "started").exists():
            break
        subprocess.run(["sleep", "0.1"])
    job.terminate()
    assert job.wait(30) == 0
    assert (cluster.folder / "requeued").read_text() == "requeue 9\n"
    assert not (cluster.folder / "words.9.test").exists()


def test_preparation_and_array_pass_on_what_slurm_gave(cluster):
    told = cluster.run("sbatch", str(SCRIPTS / "prepare.sbatch"), "my data", "store")
    assert told[1, "prepare"] == ["my data", "store", "--trainer.num_nodes=2", "--trainer.devices=1", "--workers=8"]
    told = cluster.run("sbatch", str(SCRIPTS / "array.sbatch"), "--config", "runs/paper.yaml", "--folds=5")
    assert told[2, "run"] == ["--config", "runs/paper.yaml", "--folds=5", "--share=3/10"]


@pytest.mark.parametrize("name", ["prepare", "stage", "array"])
def test_every_job_names_its_log_and_may_be_queued_again(name):
    text = (SCRIPTS / f"{name}.sbatch").read_text()
    options = re.findall(r"^#SBATCH --([\w-]+)", text, re.MULTILINE)
    assert {"job-name", "requeue", "open-mode", "output", "time", "cpus-per-task"} <= set(options)


def test_shares_are_disjoint_and_whole():
    jobs = [
        SimpleNamespace(folder=Path("out", f"seed{s}_fold{f}", unit))
        for s in (1, 2)
        for f in (1, 2, 3)
        for unit in "abc"
    ]
    shares = [share_of(jobs, f"{i}/4") for i in (1, 2, 3, 4)]
    assert sorted(id(job) for share in shares for job in share) == sorted(map(id, jobs))
    for share in shares:
        assert all(len([j for j in share if j.folder.parent == job.folder.parent]) == 3 for job in share)
    for wrong in ("0/4", "5/4", "x", "1/"):
        with pytest.raises(UsageError, match="`--share` must be I/N"):
            share_of(jobs, wrong)
