"""Every form in which a server says how long to wait."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from app.provider.judges.llm.retry_after import LONGEST, retry_after, span

NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Mon, 21 Sep 2026 14:13:50 GMT"}, 30.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"x-ratelimit-reset-requests": "1m30s", "x-ratelimit-remaining-requests": "0"}, 90.0),
        ({"x-ratelimit-reset-tokens": "250ms", "x-ratelimit-remaining-tokens": "0"}, 0.25),
        ({"x-ratelimit-reset-requests": "1h", "x-ratelimit-remaining-requests": "9"}, None),
        (
            {
                "anthropic-ratelimit-requests-reset": "2026-09-21T14:13:32Z",
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-tokens-reset": "2026-09-21T14:14:20Z",
                "anthropic-ratelimit-tokens-remaining": "100",
            },
            12.0,
        ),
        ({"x-ratelimit-reset": "1790000045000", "x-ratelimit-remaining": "0"}, 45.0),
        ({"ratelimit-reset": "20"}, 20.0),
        ({"retry-after": "999999999"}, LONGEST),
        ({"retry-after": "Tue, 21 Sep 2066 14:13:50 GMT"}, LONGEST),
        ({"retry-after": "Mon, 21 Sep 2020 14:13:50 GMT"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "0"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e400"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"date": "Mon, 21 Sep 2026 14:13:50 GMT"}, None),
        ({}, None),
    ],
)
def test_the_wait_is_understood(headers: Mapping[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("34s", 34), ("6m0s", 360), ("1.5s", 1.5), ("2h3m4s", 7384), ("20ms", 0.02), ("1d", 86_400)],
)
def test_spans_are_read(text: str, seconds: float) -> None:
    assert span(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "s1", "1s 2", "9" * 400 + "s"])
def test_what_is_no_span_is_none(text: str) -> None:
    assert span(text) is None
