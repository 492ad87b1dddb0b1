"""Whether a Redis can be trusted with work, by what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping

OLDEST = 7
"""The first Redis whose scripts may say that they must run when memory is short."""


def read_info(answer: bytes) -> dict[str, str]:
    """The lines of INFO."""
    pairs = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
    return {name: value for name, _, value in pairs if value}


def unfit(info: Mapping[str, str]) -> str | None:
    """Why it must not be used, and what to do about it; None when it may."""
    version = info.get("redis_version", "")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < OLDEST:
        return f"is version {version}; the queue needs Redis {OLDEST} or newer"
    if info.get("cluster_enabled") == "1":
        return "is a node of a cluster, which the queue cannot follow from node to node; name a Redis that is none"
    policy = info.get("maxmemory_policy", "")
    if policy.startswith("allkeys-"):
        return (
            f"has maxmemory-policy {policy}, which throws queued work away when memory is short;"
            " set maxmemory-policy noeviction"
        )
    return None


def risks(info: Mapping[str, str], appendfsync: str | None) -> str | None:
    """What may be lost with it as it is set; None when nothing that it acknowledged."""
    if info.get("aof_enabled") == "0":
        return "appendonly is off: what was accepted since the last snapshot is lost when Redis ends"
    if info.get("aof_enabled") != "1" or appendfsync is None:
        return "appendonly or appendfsync cannot be read: whether accepted work outlives a crash is unknown"
    if appendfsync != "always":
        return f"appendfsync is {appendfsync}: a power cut may lose the last seconds of accepted work"
    return None
