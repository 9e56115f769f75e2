from __future__ import annotations

import torch

from l2o_env.adaptation.cdan import conditioned


def test_the_outer_product() -> None:
    found = conditioned(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.1, 0.6, 0.3]]))
    torch.testing.assert_close(found, torch.tensor([[0.1, 0.6, 0.3, 0.2, 1.2, 0.6]]))
