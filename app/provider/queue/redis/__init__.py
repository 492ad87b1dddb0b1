"""The ledger in Redis, for several provider processes. The only place that knows redis."""

from app.provider.queue.redis.queue import RedisQueue

__all__ = ["RedisQueue"]
