"""The words of English that the text features look for; in another language these features say nothing."""

from __future__ import annotations


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


SUBORDINATORS = _words(
    """
    although as because before after if once since so than that though till unless until when whenever where
    whereas wherever whether which while who whoever whom whose why
    """
)
"""Words that open a dependent clause. Some ("that", "so") also do other work; both essays are read alike."""

CONNECTIVES = _words(
    """
    additionally alternatively besides consequently conversely equally finally firstly furthermore hence however
    indeed instead lastly likewise meanwhile moreover nevertheless nonetheless otherwise overall secondly similarly
    specifically subsequently therefore thirdly thus ultimately
    """
)
"""Words that tie one statement to another."""

CONNECTIVE_PHRASES = tuple(
    f" {phrase} "
    for phrase in (
        "above all",
        "as a result",
        "as well as",
        "at the same time",
        "even though",
        "first of all",
        "for example",
        "for instance",
        "for this reason",
        "in addition",
        "in conclusion",
        "in contrast",
        "in fact",
        "in my opinion",
        "in other words",
        "in summary",
        "in the end",
        "of course",
        "on the contrary",
        "on the one hand",
        "on the other hand",
        "to begin with",
        "to sum up",
        "what is more",
    )
)
"""The same, of more than one word; spaces around them, as they stand among words joined by spaces."""

COMMON = _words(
    """
    a about above across after again against ago all almost alone along already also although always am among an
    and another any anyone anything are around as ask at away back be became because become been before began being
    below best better between big both bring but by came can cannot come could day did do does doing done down
    during each either else end enough even ever every everyone everything far feel felt few find first five for
    form found four from full gave get give go goes going good got great had half hard has have having he hear heard
    help her here hers herself high him himself his hold home house how i if in into is it its itself just keep kept
    kind knew know last late later least left less let life like line little live long look lot made main make man
    many may me mean men might mine more most much must my myself near need never new next nice no nobody none nor
    not nothing now of off often old on once one only open or other others our ours ourselves out over own part
    people perhaps place put quiet quite rather read real really right said same saw say says see seem seen self
    several shall she should show side since small so some someone something sometimes soon still such sure take
    taken tell ten than that the their theirs them themselves then there these they thing things think this those
    though thought three through time to today together told too took toward towards true try two under until up
    upon us use used very want was way we well went were what when where whether which while who whole whom whose
    why will wish with within without woman women word words work world would year years yes yet you young your
    yours yourself
    """
)
"""Words that carry no topic, and neighbours of one another ("these", "those") that are no misspellings."""
