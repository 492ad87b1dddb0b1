"""What to do about a failure is said of that failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import JudgeFailed
from app.provider.hints import hint
from app.provider.judges.protocol import JudgeError
from tests.provider.provider_world import World, comparison

CLASSES = ("auth", "quota", "rejected", "wrong_model", "too_long", "refused", "malformed")


def test_each_class_that_people_can_do_something_about_has_a_hint_of_its_own_with_the_providers_name() -> (
    None
):
    hints = {code: hint(code, "openai/vendor/gpt") for code in CLASSES}
    assert len({*hints.values(), JudgeFailed.hint}) == len(CLASSES) + 1
    assert "providers test openai" in hints["auth"]
    assert "judges.openai.base_url" in hints["rejected"]
    for said in hints.values():
        assert "{" not in said
        assert "correlation_id" in said
    assert hint("unavailable", "openai/gpt") == JudgeFailed.hint


@pytest.mark.anyio
async def test_the_problem_carries_it(tmp_path: Path) -> None:
    async with World(tmp_path / "provider.db") as world:
        world.judge.script.append(JudgeError("quota", "no money", trips=True))
        with pytest.raises(JudgeFailed) as caught:
            await world.orchestrator.compare(comparison(callback_topic=None))
    assert caught.value.hint == hint("quota", "scripted:plain")
