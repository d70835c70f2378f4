"""Keras and TensorFlow, imported without their talk, after the XRootD client, and with reproducible operations.

Every module here takes `keras` and `tf` from this one. Two settings hold for the process from then on: operations of
TensorFlow that could give other digits each time are replaced by slower ones that do not, and memory of GPUs is taken
as it is needed.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

from utils.errors import ConfigError
from utils.logs import get_logger
from utils.readers.places.xrootd import import_client

logger = get_logger(__name__)


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep what C++ writes to the standard error back, and show it only where something goes wrong."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


if "tensorflow" not in sys.modules and importlib.util.find_spec("XRootD") is not None:
    import_client()  # after tensorflow it would crash
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
with _hushed():
    import keras
    import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    raise ConfigError(
        f"Keras computes with {keras.backend.backend()} here, and only TensorFlow is supported",
        where="KERAS_BACKEND",
        remedy="Set the environment variable KERAS_BACKEND=tensorflow.",
    )
tf.get_logger().setLevel("ERROR")
tf.config.experimental.enable_op_determinism()
for _gpu in tf.config.list_physical_devices("GPU"):
    with contextlib.suppress(RuntimeError):  # in use already
        tf.config.experimental.set_memory_growth(_gpu, True)

__all__ = ["global_generator", "keras", "tf"]


def global_generator() -> Any:
    """The generator of `keras.random` where no other is named; for its state, at which Keras shows no other way."""
    from keras.src.random.seed_generator import global_seed_generator

    return global_seed_generator()
