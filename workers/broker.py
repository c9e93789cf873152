"""Redis, the wake-up: messages that tell a worker which ingestion waits in Postgres.

A message that is lost costs a delay, never an ingestion: a sweep sends it again. So nothing here
waits long for Redis, and nothing fails without it.
"""

import time
from typing import Final
from uuid import UUID

import dramatiq
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import BrokerConnectionError
from redis.backoff import NoBackoff
from redis.retry import Retry

from credit_es.settings import SettingsError

log = structlog.get_logger()

QUEUE: Final = "ingestion"
ACTOR: Final = "ingest"
TIMEOUT_S: Final = 2
ALIVE_S: Final = 15


class Broker:
    """The queue of one schema on one Redis, which need not be there."""

    def __init__(self, redis_url: str, schema: str) -> None:
        if not redis_url:
            raise SettingsError("REDIS_URL is not set: name a Redis, such as redis://host:6379/0.")
        self.client: redis.Redis = redis.Redis.from_url(
            redis_url,
            socket_connect_timeout=TIMEOUT_S,
            socket_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
        self.dramatiq = RedisBroker(  # type: ignore[no-untyped-call]
            client=self.client, namespace=f"credit-es/{schema}"
        )
        self.dramatiq.declare_queue(QUEUE)
        self._workers = f"credit-es/{schema}/workers"

    def enqueue(self, ingestion_id: UUID) -> bool:
        """Wake a worker up; False where Redis does not answer, and the sweep will see to it."""
        message: dramatiq.Message[None] = dramatiq.Message(
            queue_name=QUEUE, actor_name=ACTOR, args=(str(ingestion_id),), kwargs={}, options={}
        )
        try:
            self.dramatiq.enqueue(message)
        except (redis.RedisError, BrokerConnectionError) as error:
            log.warning("redis is away", ingestion_id=str(ingestion_id), error=str(error))
            return False
        return True

    def answers(self) -> bool:
        """Whether Redis is there."""
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False

    def say_alive(self, worker: str) -> None:
        """Leave a sign of life of one worker."""
        now = time.time()
        self.client.zremrangebyscore(self._workers, "-inf", now - ALIVE_S)
        self.client.zadd(self._workers, {worker: now})

    def say_gone(self, worker: str) -> None:
        """Take the sign of life away."""
        self.client.zrem(self._workers, worker)

    def workers_alive(self) -> int:
        """How many workers gave a sign of life lately; 0 where Redis is away."""
        try:
            return int(self.client.zcount(self._workers, time.time() - ALIVE_S, "+inf"))
        except redis.RedisError:
            return 0
