"""Folders that tests read, and flags that they share."""

from pathlib import Path

HELPERS = Path(__file__).parent
ROOT = HELPERS.parents[1]
CONFIGS = ROOT / "configs"
OVERLAY = CONFIGS / "overlays" / "demo"
CASES = ROOT.parent / "shared" / "cases"
"""Small inputs with right values; absent on most machines."""
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
]
"""Flags that make a training run last a second."""
INPUTS = {
    "stage1_audio": {},
    "stage1_visual": {},
    "stage1_text": {},
    "stage2": {f"{name}_ckpt": f"stage1_{name}" for name in ("audio", "visual", "text")},
    "stage3": {f"{name}_ckpt": f"stage1_{name}" for name in ("audio", "visual", "text")},
    "stage4": {"fusion_ckpt": "stage2", "siamese_ckpt": "stage3"},
}
"""Stage to the model arguments that take earlier stages' checkpoints."""
