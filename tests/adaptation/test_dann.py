from __future__ import annotations

import torch

from tests.adaptation.made import adaptation


def test_at_first_the_body_does_not_hear_of_the_domains() -> None:
    """The reversal's factor is 0 at the first update, so that one update is that of the source alone."""
    run, plain = (adaptation(method, updates=1, clip_norm=None) for method in ("dann", "source_only"))
    run.run_round()
    plain.run_round()
    for a, b in zip(run.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)
