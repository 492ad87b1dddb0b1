"""The fake model itself: reads an essay pair, says its verdict in the form asked for, and counts its tokens."""

from __future__ import annotations

import json
from collections import defaultdict, deque

from tests.fake_llm.counting import Counts
from tests.fake_llm.dialect import Ask, Completion, Usage, shared_prefix, tokens
from tests.fake_llm.judging import FakeJudge, Opinion, find_essays
from tests.fake_llm.schema import DEFAULT, fill

CACHE_STEP = 128
REMEMBERED = 4


class FakeModel:
    """Answers what a format has read. `cache_minimum`: tokens below which no prompt is cached."""

    def __init__(self, judge: FakeJudge, counts: Counts, *, cache_minimum: int) -> None:
        self._judge = judge
        self._counts = counts
        self._cache_minimum = cache_minimum
        self._marked: set[tuple[str, str]] = set()
        self._recent: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def complete(self, vendor: str, ask: Ask) -> Completion:
        """The good answer, within the tokens allowed."""
        text = json.dumps(fill(ask.schema or DEFAULT, self._opinion(ask.prompt)), ensure_ascii=False)
        cached, written = self._cache(f"{vendor}/{ask.model}", ask)
        usage = Usage(input=tokens(ask.prompt), output=tokens(text), cached=cached, written=written)
        return Completion(ask.model, text, usage).within(ask.max_tokens)

    def _opinion(self, prompt: str) -> Opinion:
        essays = find_essays(prompt)
        if essays is None:
            self._counts.essays_missing += 1
            return Opinion("tie", 0.5, known=False)
        opinion = self._judge.decide(*essays)
        if not opinion.known:
            self._counts.scores_missing += 1
        return opinion

    def _cache(self, model: str, ask: Ask) -> tuple[int, int]:
        """Tokens read from the cache and written to it: the part marked, or else what recent prompts began with."""
        if ask.constant is not None:
            size = tokens(ask.constant)
            if size < self._cache_minimum:
                return 0, 0
            known = (model, ask.constant) in self._marked
            self._marked.add((model, ask.constant))
            return (size, 0) if known else (0, size)
        recent = self._recent[model]
        shared = max((tokens(shared_prefix(ask.prompt, other)) for other in recent), default=0)
        recent.append(ask.prompt)
        return (shared // CACHE_STEP * CACHE_STEP if shared >= self._cache_minimum else 0), 0
