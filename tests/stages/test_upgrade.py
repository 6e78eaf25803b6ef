"""Files of earlier versions: settings that are no longer there are left out."""

import torch

from apt_lightning.stages.fusion import FusionModule
from apt_lightning.stages.load import load


def test_settings_that_are_gone_do_not_keep_a_checkpoint_from_loading(feature_run, tmp_path):
    content = torch.load(feature_run / "seed42" / "stage2" / "last.ckpt", weights_only=True)
    content["hyper_parameters"] |= {"mixup": 0.1}
    content["hyper_parameters"]["loss"] |= {"ccc_weight": 1.0, "balanced_noise": 0.1}
    torch.save(content, tmp_path / "earlier.ckpt")
    for module in (load(str(tmp_path / "earlier.ckpt")), FusionModule.load_from_checkpoint(tmp_path / "earlier.ckpt")):
        assert not {"mixup", "ccc_weight", "balanced_noise"} & {*module.hparams, *module.hparams["loss"]}
        torch.testing.assert_close(module.state_dict(), content["state_dict"])
