"""A server that speaks three vendors' formats and misbehaves as real ones do.

`python -m tests.fake_llm` serves by hand; `FakeLLM` in the test's own event loop, `FakeLLMProcess` beside it.
"""

from __future__ import annotations

from tests.fake_llm.counting import Prices
from tests.fake_llm.judging import FakeJudge
from tests.fake_llm.misbehaviours import MISBEHAVIOURS
from tests.fake_llm.plan import Plan
from tests.fake_llm.process import FakeLLMProcess
from tests.fake_llm.server import FakeLLM

__all__ = ["MISBEHAVIOURS", "FakeJudge", "FakeLLM", "FakeLLMProcess", "Plan", "Prices"]
