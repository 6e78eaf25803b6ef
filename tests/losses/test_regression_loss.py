import numpy as np
import pytest
import torch

from apt_lightning.common.errors import UsageError
from apt_lightning.losses import RegressionLoss, RegressionTerms


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(-0.2, 1.2, (6, 5)), rng.uniform(0, 1, (6, 5))


@pytest.mark.parametrize(
    "options", [{}, {"mae_weight": 0.5, "mse_weight": 2.0, "bell_weight": 0.1}, {"bell_sigma": 0.15}]
)
def test_value_is_that_of_equations_3_and_4(options):
    scores, labels = arrays()
    labels[2, 3] = labels[4] = np.nan
    weights = [options.get(f"{k}_weight", 1.0) for k in ("mae", "mse", "bell")]
    sigma = options.get("bell_sigma", 9.0)
    error = (scores - labels)[~np.isnan(labels)]
    bell = np.mean(300 * (1 - np.exp(-(error**2) / (2 * sigma**2))))
    expected = weights[0] * np.mean(np.abs(error)) + weights[1] * np.mean(error**2) + weights[2] * bell
    loss = RegressionLoss(RegressionTerms(**options))(torch.tensor(scores), torch.tensor(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_bell_of_the_paper_is_a_parabola():
    error = torch.tensor([0.01, 0.1, 1.0])
    bell = RegressionLoss(RegressionTerms(mae_weight=0, mse_weight=0))
    for e in error:
        assert bell(e[None, None], torch.zeros(1, 1)).item() == pytest.approx(1.852 * e.item() ** 2, rel=4e-3)


def test_missing_labels_have_no_gradient_and_none_at_all_is_zero():
    scores, labels = (torch.tensor(x, dtype=torch.float32) for x in arrays())
    scores.requires_grad_()
    labels[1] = torch.nan
    RegressionLoss()(scores, labels).backward()
    assert (scores.grad[1] == 0).all()
    assert scores.grad[0].abs().min() > 0
    scores.grad = None
    loss = RegressionLoss()(scores, torch.full_like(labels, torch.nan))
    loss.backward()
    assert loss == 0
    assert (scores.grad == 0).all()


@pytest.mark.parametrize("options", [{"bell_sigma": 0.0}, {"mae_weight": -1.0}])
def test_wrong_options_are_refused(options):
    with pytest.raises(UsageError, match=next(iter(options))):
        RegressionTerms(**options)
