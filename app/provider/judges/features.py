"""The index of text features: what the offline judge measures, and nothing it does not say here.

Every measure is a plain count over one text, except two that need the pair: likely misspellings (a word one edit away
from a much more frequent word of the two essays) and closeness to the question. Time is linear in the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from math import log, log1p, sqrt

from app.provider.judges.english import COMMON, CONNECTIVE_PHRASES, CONNECTIVES, SUBORDINATORS


@dataclass(frozen=True, slots=True)
class Feature:
    """One measure. `sign` is -1 where more is worse; `praise` describes the essay that does better in it."""

    name: str
    meaning: str
    praise: str
    sign: int = 1


FEATURES = (
    Feature("words", "natural logarithm of the number of words", "longer"),
    Feature("paragraphs", "paragraphs, at most 8", "more paragraphs"),
    Feature("variety", "distinct words in a moving window of 50, as a share", "more varied vocabulary"),
    Feature("word_length", "mean letters per word, each counted up to 20", "longer words on average"),
    Feature("long_words", "share of words of 7 letters or more", "more long words"),
    Feature("sentence_length", "mean words per sentence, at most 25", "longer sentences"),
    Feature("sentence_variation", "deviation of sentence length over its mean", "more varied sentence lengths"),
    Feature("subordinators", "subordinating words per sentence, at most 3", "more subordinate clauses"),
    Feature("punctuation", "kinds of punctuation used, of 8", "more kinds of punctuation"),
    Feature("connectives", "linking words and phrases per 100 words, at most 6", "more linking words"),
    Feature("slips", "log(1 + mechanical slips per 100 words)", "fewer mechanical slips", -1),
    Feature("typos", "log(1 + likely misspellings per 100 words)", "fewer likely misspellings", -1),
    Feature("closeness", "content words of the question that are used, over the root of their number",
            "more words of the question taken up"),
)  # fmt: skip
"""In the order of every vector of values; the last two depend on the pair and the question."""

WINDOW = 50
LONG = 7
FRAGMENT = 2  # words of up to two letters are not looked at for spelling or topic
KINDS_OF_PUNCTUATION = (",", ";", ":", "?", "!", '"“”„«»', "()", "–—")  # noqa: RUF001 - the dashes pupils type
LETTERS_COUNTED = 20
LETTERS_READ = 64  # of a word; no text can make the vocabulary heavier than its share
STEM = 6
# The search for misspellings looks at so many frequent words per essay, and so many others with the same first and
# last letter: with these bounds a hostile text of one megabyte costs 10 ms, not minutes.
TARGETS = 50
BUCKET = 100
FREQUENT = 4  # how often the pair must hold a word, and how many times oftener than its neighbour


def _ranges(codes: Iterable[int]) -> str:
    """A character class for these code points (the module `re` has no name for combining marks)."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and code == spans[-1][1] + 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in spans)


_MARKS = _ranges(code for code in range(0x300, 0x10000) if unicodedata.category(chr(code)).startswith("M"))
_WORD = re.compile(rf"[\w{_MARKS}]++(?:['’][\w{_MARKS}]++)*+")  # noqa: RUF001 - the apostrophe pupils type
# Scripts without spaces: a Han or kana sign counts as a word, as word processors count; of the South-East Asian
# scripts four signs do, which is about their mean.
_UNSPACED = re.compile(r"[぀-ヿ㐀-䶿一-鿿豈-﫿𠀀-𱍊]|[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]{1,4}")
# These two begin with the sign they look for and look back from there: four times as fast on a megabyte, and linear
# on a megabyte of dots, because only the first of a run is followed.
_SENTENCE_END = re.compile(
    r"[.!?…](?<![.!?…]{2})(?<!\be\.g\.)(?<!\bi\.e\.)[.!?…]*+(?=[\s\"'”’»)\]]|$)|[。！？｡।۔؟]+"  # noqa: RUF001
)
_SPACING = re.compile(
    r" (?=[,.](?!\.))(?<=[^\W\d_] )|[,;](?=[a-zA-Z])(?<=[^\W\d_].)|[.!?](?=[A-Z][a-z])(?<=[a-z]{2}.)"
)
_ENDS_SENTENCE = tuple(".!?…。！？।۔؟:")  # noqa: RUF001
_CLOSING = "\"'”’»)]"  # noqa: RUF001
_REPEATABLE = frozenset({"had", "that", "very", "really", "no", "so"})


@dataclass(frozen=True, slots=True)
class Profile:
    """What is kept of one text: its measures and its vocabulary, never its sentences.

    `values` follow FEATURES without the last two. For the search of misspellings: `counts` by word, `frequent` the
    words that may be meant, `rare` the words that may be wrong, by first and last letter. `stems` are the content
    words, cut to six letters: "schools" meets "school" and "schooling" without a dictionary.
    """

    words: int
    values: tuple[float, ...]
    counts: Mapping[str, int]
    frequent: tuple[str, ...]
    rare: Mapping[str, Sequence[str]]
    stems: frozenset[str]


def profile(text: str) -> Profile:
    """Measure one text of any size and script; an empty one gets zeros."""
    paragraphs = _paragraphs(text)
    sentences: list[list[str]] = []
    uncapitalised = 0
    for paragraph in paragraphs:
        for piece in _SENTENCE_END.split(paragraph):
            if words := words_of(piece):
                sentences.append(words)
                uncapitalised += piece.lstrip()[0].islower()
    written = [word for sentence in sentences for word in sentence]
    words = [_folded(word) for word in written]
    counts = Counter(words)
    spellable = {word: count for word, count in counts.items() if len(word) > FRAGMENT and word.isalpha()}
    lengths = [len(sentence) for sentence in sentences]
    return Profile(
        words=len(words),
        values=(
            log(max(len(words), 1)),
            float(min(len(paragraphs), 8)),
            variety(words),
            _share(sum(min(len(word), LETTERS_COUNTED) for word in words), words),
            _share(sum(count for word, count in counts.items() if len(word) >= LONG), words),
            min(_share(len(words), lengths), 25.0),
            variation(lengths),
            min(_share(sum(counts[word] for word in SUBORDINATORS), sentences), 3.0),
            float(sum(any(mark in text for mark in kind) for kind in KINDS_OF_PUNCTUATION)),
            min(100 * _share(_connectives(words, counts), words), 6.0),
            log1p(100 * _share(uncapitalised + _slips(text, written, words, counts), words)),
        ),
        counts=spellable,
        frequent=tuple(_most_frequent(spellable)),
        rare=_by_ends(spellable),
        stems=frozenset(word[:STEM] for word in counts if _is_content(word)),
    )


def pair_values(mine: Profile, other: Profile, question: Profile) -> tuple[float, ...]:
    """All values of `mine` in the order of FEATURES, when it is compared with `other` on `question`."""
    return (*mine.values, typos(mine, other), closeness(mine, question))


def words_of(text: str) -> list[str]:
    """The words as written: letters, digits and marks, with apostrophes inside; hyphens part words."""
    text = text.replace("_", " ")
    if not text.isascii():
        text = _UNSPACED.sub(lambda sign: f" {sign[0]} ", text)
    return _WORD.findall(text)


def has_words(text: str, least: int) -> bool:
    """Whether there are so many; looks no further than it must."""
    if not text.isascii() or "_" in text:
        return len(words_of(text)) >= least
    return next(islice(_WORD.finditer(text), least - 1, None), None) is not None


def variety(words: Sequence[str]) -> float:
    """Moving-average type-token ratio (Covington & McFall 2010): the share of distinct words in each window, averaged.

    Unlike the plain ratio it does not fall with the length of the text.
    """
    if len(words) <= WINDOW:
        return _share(len(set(words)), words)
    seen = Counter(words[:WINDOW])
    distinct = total = len(seen)
    for leaving, entering in zip(words, words[WINDOW:], strict=False):
        seen[leaving] -= 1
        distinct -= seen[leaving] == 0
        distinct += seen[entering] == 0
        seen[entering] += 1
        total += distinct
    return total / (WINDOW * (len(words) - WINDOW + 1))


def variation(lengths: Sequence[int]) -> float:
    """Standard deviation of the lengths over their mean, at most 1."""
    if not lengths:
        return 0.0
    mean = sum(lengths) / len(lengths)
    return min(sqrt(sum((length - mean) ** 2 for length in lengths) / len(lengths)) / mean, 1.0)


def typos(mine: Profile, other: Profile) -> float:
    """log(1 + r), r = words per 100 of `mine` that are one edit from a word four times as frequent in the pair.

    First and last letter must agree: an edit at the end is mostly an inflection ("phone", "phones"), no slip.
    """
    found: set[str] = set()
    for target in {*mine.frequent, *other.frequent}:
        rare = mine.rare.get(target[0] + target[-1])
        if rare is None:
            continue
        frequency = mine.counts.get(target, 0) + other.counts.get(target, 0)
        for word in rare:
            often = FREQUENT * (mine.counts[word] + other.counts.get(word, 0))
            if frequency >= often and is_one_edit(word, target):
                found.add(word)
    return log1p(100 * sum(mine.counts[word] for word in found) / max(mine.words, 1))


def closeness(mine: Profile, question: Profile) -> float:
    """Share of the question's n content words that occur, times sqrt(n): hits over the root of n.

    Counts of hits spread with the root of n, so this spreads alike for a short question and for a long rubric.
    """
    if not question.stems:
        return 0.0
    return len(question.stems & mine.stems) / sqrt(len(question.stems))


def is_one_edit(word: str, other: str) -> bool:
    """Whether one letter added, lost, replaced or swapped with its neighbour makes one word the other."""
    if len(word) > len(other):
        word, other = other, word
    if word == other or len(other) - len(word) > 1:
        return False
    at = next((i for i, letter in enumerate(word) if letter != other[i]), len(word))
    if len(word) < len(other):
        return word[at:] == other[at + 1 :]
    swapped = word[at : at + 2] == other[at : at + 2][::-1]
    return word[at + 1 :] == other[at + 1 :] or (swapped and word[at + 2 :] == other[at + 2 :])


def _folded(word: str) -> str:
    """Lower case; accents composed, so that both spellings of "é" are one word. Cut first: NFC is not linear."""
    word = word[:LETTERS_READ].lower()
    return word if word.isascii() else unicodedata.normalize("NFC", word)


def _share(part: float, whole: Sequence[object]) -> float:
    return part / len(whole) if whole else 0.0


def _paragraphs(text: str) -> list[str]:
    """Blocks between blank lines; without any, lines that close a sentence close a paragraph (others are wrapped)."""
    lines = [line.strip() for line in text.strip().splitlines()]
    wrapped = "" in lines
    paragraphs: list[str] = []
    block: list[str] = []
    for line in lines:
        if line:
            block.append(line)
        if block and (not line or (not wrapped and line.rstrip(_CLOSING).endswith(_ENDS_SENTENCE))):
            paragraphs.append(" ".join(block))
            block = []
    return [*paragraphs, " ".join(block)] if block else paragraphs


def _connectives(words: Sequence[str], counts: Mapping[str, int]) -> int:
    joined = f" {' '.join(words)} "
    phrases = sum(joined.count(phrase) for phrase in CONNECTIVE_PHRASES)
    return phrases + sum(counts.get(word, 0) for word in CONNECTIVES)


def _slips(text: str, written: Sequence[str], words: Sequence[str], counts: Mapping[str, int]) -> int:
    """A lone "i", doubled words, a space before or none after a mark; missing capitals are counted elsewhere."""
    doubled = sum(
        word == following and len(word) > 1 and word.isalpha() and word not in _REPEATABLE
        for word, following in pairwise(words)
    )
    english = counts.get("the", 0)  # "i" is a word of its own in Swedish, Polish and others
    lone = sum(word == "i" or word.startswith(("i'", "i’")) for word in written) if english else 0  # noqa: RUF001
    return doubled + lone + len(_SPACING.findall(text))


def _most_frequent(counts: Mapping[str, int]) -> list[str]:
    repeated = [word for word, count in counts.items() if count > 1 and len(word) > FRAGMENT + 1]
    return sorted(repeated, key=lambda word: (-counts[word], word))[:TARGETS]


def _by_ends(counts: Mapping[str, int]) -> dict[str, list[str]]:
    rare: dict[str, list[str]] = {}
    for word in counts:
        if word not in COMMON and len(bucket := rare.setdefault(word[0] + word[-1], [])) < BUCKET:
            bucket.append(word)
    return rare


def _is_content(word: str) -> bool:
    """Whether it may name a topic: no common word, no fragment; a single Han or kana sign does."""
    return word not in COMMON and (len(word) > FRAGMENT or _UNSPACED.fullmatch(word) is not None)
