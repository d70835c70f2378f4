"""What to say where memory runs out."""

from utils.errors import ConfigError
from utils.models.neural.plan import NeuralPlan


def out_of_memory(plan: NeuralPlan, doing: str, error: Exception, said: str) -> ConfigError:
    """The error for a MemoryError of the host, which holds the events, or for the library's own, which computes."""
    if isinstance(error, MemoryError):
        remedy = f"Lower buffer ({plan.buffer.n_bytes / 1e6:,.0f} MB), or batch_size ({plan.batch_size:,})."
    else:
        remedy = f"Lower batch_size ({plan.batch_size:,}), or make the network less wide."
    first = next(iter(said.strip().splitlines()), "the host has no more")
    return ConfigError(f"out of memory while {doing} ({first})", where="model_param", remedy=remedy)
