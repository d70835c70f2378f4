"""Where a network computes, with how many threads and digits, and what to do when memory is not enough."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from utils.errors import ConfigError
from utils.logs import get_logger
from utils.models.estimator import FitContext
from utils.models.keras_network.library import global_generator, keras, tf
from utils.models.neural.memory import out_of_memory
from utils.models.neural.plan import NeuralPlan, Precision

logger = get_logger(__name__)

_POLICIES = {"fp32": "float32", "bf16": "mixed_bfloat16", "fp16": "mixed_float16"}


def device_of(context: FitContext) -> str:
    """TensorFlow's name of the GPU, or of the processor where none is asked for."""
    gpus = context.gpus
    if context.n_processes > 1 and not gpus:
        raise ConfigError(
            "a network in Keras is trained in one process",
            where="n_processes",
            remedy="Leave it out, or train in torch: model=torch_mlp.",
        )
    if not gpus:
        return "/CPU:0"
    n_there = len(tf.config.list_physical_devices("GPU"))
    for gpu in gpus:
        if not 0 <= gpu < n_there:
            there = "TensorFlow sees none here" if n_there == 0 else f"TensorFlow sees {n_there}, numbered from 0"
            raise ConfigError(
                f"GPU {gpu} is asked for, and {there}",
                where="gpus",
                remedy="Set gpus=[] for the processor, or check nvidia-smi, CUDA_VISIBLE_DEVICES and the build of "
                "TensorFlow.",
            )
    if len(gpus) > 1:
        raise ConfigError(
            "a network in Keras is trained on one GPU",
            where="gpus",
            remedy=f"Set gpus=[{gpus[0]}], or train in torch: model=torch_mlp.",
        )
    return f"/GPU:{gpus[0]}"


def limit_threads(number: int | None) -> None:
    """Let TensorFlow compute with so many threads. It is asked once in a process; later wishes are warned of."""
    if number is None:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(number)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        now = tf.config.threading.get_intra_op_parallelism_threads()
        if now != number:
            said = "as many threads as it likes" if now == 0 else f"{now} threads"
            logger.warning("threads=%d comes too late: TensorFlow computes with %s in this process", number, said)


@contextlib.contextmanager
def making(asked: Precision) -> Iterator[Any]:
    """For making a network: layers compute with the precision that is asked for, and get the same names each time.

    Gives the generator of random numbers for which no other is named. Keras' own precision is afterwards as it was.
    """
    before = keras.config.dtype_policy()
    keras.backend.clear_session(free_memory=False)  # the counters of names, and the generator
    keras.config.set_dtype_policy(_POLICIES[asked])
    try:
        yield global_generator()
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed every generator. Python's and NumPy's are afterwards as they were; TensorFlow cannot tell its own."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (Keras seeds the global generator)
    keras.utils.set_random_seed(seed % 2**32)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002


@contextlib.contextmanager
def explained(plan: NeuralPlan, doing: str) -> Iterator[None]:
    """Say which setting to lower where memory runs out, and that compiling can be left out where it fails."""
    try:
        yield
    except MemoryError as error:
        raise out_of_memory(plan, doing, error, str(error)) from error
    except tf.errors.ResourceExhaustedError as error:
        raise out_of_memory(plan, doing, error, error.message) from error
    except tf.errors.OpError as error:
        if plan.compile and "XLA" in error.message:
            raise ConfigError(
                f"XLA cannot compile the network ({error.message.splitlines()[0]})",
                where="model_param.compile",
                remedy="Set compile=false.",
            ) from error
        raise
