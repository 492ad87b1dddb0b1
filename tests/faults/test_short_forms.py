"""The short form of every campaign; `make faults` runs the full ones."""

from __future__ import annotations

import pytest

from tests.faults.__main__ import CAMPAIGNS, SEED, WHOLE, carried_out


@pytest.mark.parametrize("campaign", sorted(CAMPAIGNS.keys() - WHOLE))
def test_the_short_form_of_a_campaign_meets_its_bars(campaign: str) -> None:
    findings = carried_out(campaign, SEED, full=False)
    assert findings.met, "\n".join(
        [*(f"{f.name}: {f.value}, bar {f.bar}" for f in findings.figures if not f.met), *findings.complaints]
    )
