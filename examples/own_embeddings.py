"""Put embeddings of your own into a store and train on them; run it after `train.py`, in the same folder.

They may take the place of ours (`audio`, `visual`, `text`), or be a modality of their own, as here.
"""

# %% One vector a clip, of any size, with the clips' names. Here: the labels behind a lot of noise.
import numpy as np
from lightning.pytorch import Trainer, seed_everything

import apt_lightning as apt

store = apt.Store.open("store")
labels = np.array([clip.traits for clip in store.clips])
noise = np.random.default_rng(0).normal(size=(len(labels), 32))
vectors = noise + labels @ np.random.default_rng(1).normal(size=(5, 32))
np.savez("gait.npz", features=vectors, names=[clip.name for clip in store.clips])
placed = apt.put_features(store, "gait", "gait.npz")
print(f"{placed.used} clips have a gait; the store has", apt.Store.open("store").modalities)

# %% Stage 1 reads it like any other modality; stages 2 to 4 take its checkpoint beside the others.
seed_everything(0, verbose=False)
data = apt.FirstImpressionsDataModule("store", batch_size=16)
quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = Trainer(accelerator="auto", devices=1, max_epochs=5, enable_checkpointing=False, **quiet)
trainer.fit(apt.ModalityModule("gait"), datamodule=data)
trainer.save_checkpoint("runs/stage1_gait.ckpt")
fusion = apt.FusionModule(checkpoints={"audio": "runs/stage1_audio.ckpt", "gait": "runs/stage1_gait.ckpt"})
trainer = Trainer(accelerator="auto", devices=1, max_epochs=5, enable_checkpointing=False, **quiet)
trainer.fit(fusion, datamodule=data)
(metrics,) = trainer.test(fusion, datamodule=data, verbose=False)
print("audio and gait:", round(metrics["test/1-MAE"], 4))
