"""Signs that an essay speaks to its judge. They decide nothing: a person should look at what they flag.

Cheap, repeatable, linear in the text. English words only; what is hidden or looks like machinery is seen in any
language. Easy to evade, by look-alike letters or other words: what is not flagged is not thereby honest.
"""

from __future__ import annotations

import re
import unicodedata

ADDRESSES_JUDGE = "addresses-judge"
VERDICT_JSON = "verdict-json"
INVISIBLE = "invisible-characters"
DELIMITER = "delimiter-lookalike"

# Not the joiners by themselves: Persian, Hindi and emoji are written with them.
_HIDDEN = re.compile(
    "[\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\U000e0000-\U000e01ef]|(?<=[a-zA-Z])[\u00ad\u200c\u200d]+(?=[a-zA-Z])"
)
_DROPPED = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\U000e0000-\U000e01ef]")
_TAGS = {code: chr(code - 0xE0000) for code in range(0xE0020, 0xE007F)}
"""The invisible twins of ASCII: a model reads them, a person does not see them."""

_PIECE = 256
_BLANKS = re.compile(r"\s{2,}")
"""One blank stands for many below: two patterns that share a run of them would take its length squared."""

_SPEAKS = re.compile(
    r"""
    \b(?:ignore|disregard|forget|override|bypass)\b[^.!?]{0,40}
        \b(?:instructions?|prompts?|rules|rubric|above|previous|criteria)\b
    | \b(?:choose|pick|select|prefer|favou?r|rank|rate|vote\s+for|declare|mark)\b[^.!?]{0,20}
        \b(?:essay|text|answer|option)\s+["']?[ab]\b
    | \b(?:essay|text|answer|option)\s+["']?[ab]["']?\s+(?:is|wins?|must|should|deserves)\b
    | \b(?:this|my)\s+(?:essay|text|answer)\s+(?:must|should|has\s+to|deserves\s+to)\s+(?:win|be\s+(?:chosen|ranked|rated|preferred))\b
    | \byou\s+are\s+(?:now\s+)?(?:an?|the)\s+(?:\w+\s+)?(?:judge|grader|examiner|marker|assistant|ai|language\s+model)\b
    | \b(?:dear|attention|hello|note\s+to(?:\s+the)?)[,:]?\s+(?:judge|grader|examiner|marker|ai|llm|language\s+model)\b
    | \bsystem\s+(?:prompt|message|override)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
_VERDICT = re.compile(
    r"""["'“”]?\b(?:winner|confidence|justification)\b["'“”]?\s*[:=]\s*["'“”{\d]""", re.IGNORECASE
)
_MACHINERY = re.compile(
    r"""
    \b(?:begin|end(?:\s+of)?|start(?:\s+of)?)\s+(?:of\s+)?essay\s+[ab]\b
    | \bessay\s+[ab]\s+(?:begins|ends|starts)\b
    | <\s?/?\s?(?:essay|system|instructions?|user|assistant)\b[^<>\n]{0,40}>
    | <\|[^|<>\n]{1,40}\|>
    | \[/?(?:inst|system|user|assistant)\]
    | ^[ \t]{0,10}(?:\#{1,6}[ \t]{0,3})?(?:system|assistant|user|human)[ \t]{0,3}:
    """,
    re.IGNORECASE | re.VERBOSE | re.MULTILINE,
)


def suspicions(text: str) -> tuple[str, ...]:
    """What is suspicious about this text, by name; for most texts nothing."""
    plain = text
    flags = []
    if not text.isascii():
        if _HIDDEN.search(text):
            flags.append(INVISIBLE)
        plain = _normal(_DROPPED.sub("", text.translate(_TAGS)))
    plain = _BLANKS.sub(_one_blank, plain)
    if _SPEAKS.search(plain):
        flags.append(ADDRESSES_JUDGE)
    if _VERDICT.search(plain):
        flags.append(VERDICT_JSON)
    if _MACHINERY.search(plain):
        flags.append(DELIMITER)
    return tuple(sorted(flags))


def _normal(text: str) -> str:
    """In NFKC, piece by piece: a run of accents is sorted in its length squared."""
    pieces = range(0, len(text), _PIECE)
    return "".join(unicodedata.normalize("NFKC", text[at : at + _PIECE]) for at in pieces)


def _one_blank(run: re.Match[str]) -> str:
    return "\n" if "\n" in run[0] else " "


def flags_of(essay_a: str, essay_b: str) -> tuple[str, ...]:
    """The suspicions of a pair, each with its essay: `essay_a:verdict-json`."""
    return tuple(
        f"{name}:{flag}"
        for name, text in (("essay_a", essay_a), ("essay_b", essay_b))
        for flag in suspicions(text)
    )
