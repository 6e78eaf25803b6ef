"""Folders that tests read, and flags that they share."""

from pathlib import Path

from apt_lightning.experiments.plan import run_units

HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]
CONFIGS = ROOT / "configs"
OVERLAY = HELPERS / "overlay"
"""Small pictures, for all stages that read them."""
CLIPS = ROOT.parent / "shared" / "clips"
"""Real clips; absent on most machines, where the tests that read them are skipped."""
CASES = ROOT.parent / "shared" / "cases"
"""Small inputs with known right values; absent on most machines too."""
QUICK = [
    "--trainer.accelerator=cpu",
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.enable_progress_bar=false",
    "--data.batch_size=8",
    "--data.num_workers=0",
]
"""Flags that make a training run last a second."""
STAGES = ("stage1_audio", "stage1_visual", "stage1_text", "stage2", "stage3", "stage4")


def inputs(stage, folder):
    """Flags that give a stage the earlier checkpoints of a run's seed folder."""
    return next(unit for unit in run_units() if unit.name == stage).inputs(folder)
