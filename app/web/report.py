"""What people take away: rankings and judgements as CSV and JSON, and a report that needs nothing but a browser."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from app.cj.reports import GRADES
from app.cj.scoring_ranking import RankedEssay
from app.cj.views import Comparison, Summary, flagged
from app.contracts import JudgeKind
from app.web import STATIC, words
from app.web.plots import NARROW, caterpillar
from app.web.quality import Quality, chances
from app.web.rendering import environment

RANKING_COLUMNS = ("rank", "essay", "score", "se", "low", "high", "comparisons", "level")
JUDGEMENT_COLUMNS = (
    "order",
    "sequence",
    "wave",
    "essay_a",
    "essay_b",
    "winner",
    "confidence",
    "justification",
    "judge_kind",
    "provider",
    "model",
    "road",
    "attempts",
    "planned_at",
    "submitted_at",
    "ended_at",
    "cost_usd",
    "tokens",
    "correlation_id",
    "state",
    "error_code",
    "prompt_version",
    "prompt_sha256",
    "flags",
    "audit_of",
)
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - what spreadsheets take for ASCII
_MOMENTS = ("planned_at", "submitted_at", "ended_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """A batch as it is taken away. `quality`: grades and what needs a look; None while it is judged, or before a verdict.

    `unpriced`: the price of a judge is not known.
    """

    summary: Summary
    rows: Sequence[RankedEssay]
    comparisons: Sequence[Comparison]
    quality: Quality | None
    unpriced: bool = False


def ranking_csv(ranked: Ranked) -> str:
    """The ranking; scores and bounds in logits with all their digits, empty where there is none yet, like the grade."""
    judged_by = " and ".join(ranked.summary.judge_kinds)
    graded = ranked.quality.graded if ranked.quality else {}
    lines = (
        [
            *(getattr(row, name) for name in RANKING_COLUMNS),
            judged_by,
            graded[row.position].grade if graded else None,
        ]
        for row in ranked.rows
    )
    return _csv((*RANKING_COLUMNS, "judged_by", "grade"), lines)


def judgements_csv(comparisons: Iterable[Comparison], *, unpriced: bool = False) -> str:
    """Every judgement planned, in the order given; `order` is the order in which results came in, moments are UTC.

    `unpriced`: the price of a judge is not known; what a language model then seems to have taken for nothing is empty.
    """
    return _csv(JUDGEMENT_COLUMNS, (_judgement(one, unpriced=unpriced) for one in comparisons))


def ranking_json(ranked: Ranked) -> str:
    """The ranking with all it stands on: who judged, settings, seed, why it stopped, reliability and its method.

    Its cost is null when the price of a judge is not known; grades and what needs a look are null where an analysis is
    missing.
    """
    summary, quality = ranked.summary, ranked.quality
    batch = summary.batch
    document: dict[str, Any] = {
        "batch": {
            "id": str(batch.id),
            "title": batch.title,
            "question": batch.question,
            "state": batch.state.value,
            "created_at": words.rfc3339(batch.created_at),
            "finished_at": words.rfc3339(batch.finished_at) or None,
        },
        "judge_kinds": summary.judge_kinds,
        "notice": [sentence for _, sentence in words.banners(summary)],
        "models": summary.models,
        "prompts": summary.prompts,
        "settings": batch.settings.model_dump(mode="json", exclude_none=True),
        "seed": batch.settings.seed,
        "stop_reason": batch.stop_reason,
        "reliability": {
            "value": batch.reliability,
            "target": batch.settings.target_reliability,
            "method": words.RELIABILITY_METHOD,
        },
        "comparisons": {
            "planned": batch.planned,
            "decided": batch.decided,
            "failed": batch.failed,
            "failures": summary.failures,
            "roads": summary.roads,
        },
        "cost_usd": None if ranked.unpriced else batch.cost_usd,
        "budget_usd": batch.settings.budget_usd,
        "flagged": [
            {"essay": one.essay, "found": one.found, "comparisons": one.comparisons}
            for one in flagged(ranked.comparisons)
        ],
        "needs_a_human_look": quality
        and [{"essay": one.essay, "reasons": one.reasons} for one in quality.looks],
        "grades": quality
        and {"illustration": quality.illustration, **GRADES.dump_python(quality.grades, mode="json")},
        "scale": {"unit": "logit", "interval": 0.95},
        "ranking": [{name: getattr(row, name) for name in RANKING_COLUMNS} for row in ranked.rows],
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2) + "\n"


def report_html(ranked: Ranked) -> str:
    """One file with banner, figures, plot, ranking, grades and every judgement; it loads nothing."""
    lines = ranked.quality.lines if ranked.quality else None
    return environment.get_template("report.html").render(
        summary=ranked.summary,
        batch=ranked.summary.batch,
        rows=ranked.rows,
        comparisons=ranked.comparisons,
        unpriced=ranked.unpriced,
        flagged=flagged(ranked.comparisons),
        quality=ranked.quality,
        graded=ranked.quality.graded if ranked.quality else {},
        chances=chances,
        plot=caterpillar(ranked.rows, grades=lines),
        narrow_plot=caterpillar(ranked.rows, grades=lines, width=NARROW, ident="narrow"),
        css=(STATIC / "juxta.css").read_text(encoding="utf-8"),
    )


def neutral(cell: Any) -> Any:
    """Text that a spreadsheet would run as a formula gets an apostrophe before it; numbers stay numbers."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_DANGEROUS) else cell


def _judgement(one: Comparison, *, unpriced: bool) -> list[Any]:
    special: dict[str, Any] = {name: words.rfc3339(getattr(one, name)) for name in _MOMENTS}
    special |= {"order": one.ended_order, "correlation_id": str(one.id), "flags": " ".join(one.flags)}
    if unpriced and one.judge_kind in {JudgeKind.LLM, None} and not one.cost_usd:
        special["cost_usd"] = None
    return [special[name] if name in special else getattr(one, name) for name in JUDGEMENT_COLUMNS]


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([neutral(cell) for cell in row] for row in rows)
    return text.getvalue()
