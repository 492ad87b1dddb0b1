"""What is broken on purpose in every queue, by name: each engine breaks all of it, in its own way."""

from __future__ import annotations

PROMISES = frozenset(
    {
        "no fencing",
        "fencing by attempt alone",
        "peek instead of lease",
        "no reclaim after a crash",
        "expired requests dropped in silence",
        "expired request of a lane without judge never closed",
        "outcome overwritten by a second worker",
        "duplicates accepted",
        "limit not enforced",
        "a known id refused as full",
        "priority ignored",
        "tries restart on release",
        "waiting for a breaker costs a try",
        "leasing costs a try",
        "a call begun with its lease costs none",
        "a shutdown costs a try",
        "a direct call costs no try",
        "delay ignored",
        "a hurried request waits on",
        "hurrying ends a lease",
        "not durable",
        "finished without fence",
        "judge asked again for an answered request",
        "answers on the connection of a dead process",
        "published rows forgotten before the retention",
    }
)
