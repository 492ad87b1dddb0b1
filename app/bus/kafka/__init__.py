"""The bus over Kafka, for modules in processes of their own. aiokafka and plain asyncio live here and nowhere else.

bus.py         KafkaBus: the life of the parts below, health
connection.py  where the broker is and how to speak to it; topics as we make them; how a member behaves in its group
topics.py      asks the broker again and again whether it is there, and makes the topics that are missing
publisher.py   many callers, few requests: one batch at a time per partition, so that order holds
member.py      one process in one group: fetches, hands out, commits; leaves and comes back with the broker
partition.py   the records of one partition on their way to the handler
letters.py     dead letters read by hand, and which of them were sent again
records.py     records to bytes and back, and the partition of a key
clients.py     aiokafka's clients, started and stopped within deadlines
reach.py       whether there is a broker, for people who set things up
metadata.py    the one request that aiokafka lacks: topics with their identity
"""

from app.bus.kafka.bus import KafkaBus
from app.bus.kafka.connection import KafkaConnection, Membership, TopicLayout

__all__ = ["KafkaBus", "KafkaConnection", "Membership", "TopicLayout"]
