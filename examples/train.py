"""Train the four stages in Python, with a plain Trainer, on clips that are drawn here: a minute on two cores.

Run it in an empty folder; it leaves the clips, the feature store and a checkpoint of each stage in `runs`.
"""

# %% Clips and their features. With data of your own, start at `prepare`.
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

import apt_lightning as apt

apt.synthesize("clips", n_clips=60, seed=0, seconds=1.5, size=(192, 108), workers=1)
apt.prepare("clips", "store")
data = apt.FirstImpressionsDataModule("store", batch_size=16)

# %% A batch says what it holds; no Trainer is needed to look at one.
data.setup("fit")
batch = next(iter(data.train_dataloader()))
print({name: tuple(inputs.values.shape) for name, inputs in batch.inputs.items()}, tuple(batch.traits.shape))


# %% Each stage is a LightningModule: fit it, keep the best epoch, test that.
def train(module, name, epochs):
    best = ModelCheckpoint("runs", name, monitor=module.monitor, mode=module.mode, enable_version_counter=False)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = Trainer(accelerator="auto", devices=1, max_epochs=epochs, callbacks=[best], **quiet)
    trainer.fit(module, datamodule=data)
    (metrics,) = trainer.test(apt.load(best.best_model_path), datamodule=data, verbose=False)
    print(name, {key: round(value, 4) for key, value in metrics.items() if key in ("test/1-MAE", "test/precision")})
    return best.best_model_path


seed_everything(0, verbose=False)
small = {"backbone": "resnet18", "frame_size": [42, 74], "crop": 40}  # the paper: ResNet-50, 140x248, 128
first = {m: train(apt.ModalityModule(m, **small), f"stage1_{m}", epochs=2) for m in ("audio", "visual", "text")}
second = train(apt.FusionModule(checkpoints=first), "stage2", epochs=10)
third = train(apt.SiameseModule(checkpoints=first), "stage3", epochs=10)
fourth = train(apt.FinalModule(fusion_ckpt=second, siamese_ckpt=third), "stage4", epochs=10)
