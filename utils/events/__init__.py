"""What an event is while it is in memory: a row of a chunk, with an identity that never changes."""

from utils.events.chunk import Chunk, Column
from utils.events.identity import hash_identity, hash_text, in_training_split, salted

__all__ = ["Chunk", "Column", "hash_identity", "hash_text", "in_training_split", "salted"]
