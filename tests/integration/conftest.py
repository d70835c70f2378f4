"""A folder to work in, in which the project's commands are run as a user would type them."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds that a command, a server or a page may take where the machine is busy


def environment() -> dict[str, str]:
    """The environment without what another MLflow or the tests' own threads have left in it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    # Two tests at a time on two cores: more threads would only wait for each other.
    return kept | {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


@dataclass(frozen=True)
class Workplace:
    """Where commands are typed; MLflow's store and the data lie here.

    Parameters
    ----------
    folder : empty at first.
    """

    folder: Path

    @property
    def tracking_uri(self) -> str:
        """Of the store that the commands make here."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def attempt(self, *command: str, cwd: Path | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run Python with these arguments here (or in `cwd`), with further environment variables."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=cwd or self.folder,
            env=environment() | variables,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    def run(self, script: str, *arguments: str) -> str:
        """Run a script of the project here, and give what it printed; a failure shows all of it."""
        done = self.attempt(str(REPOSITORY / script), *arguments)
        assert done.returncode == 0, f"{script} {' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def preprocess(self, analysis: str, *overrides: str) -> str:
        """Make the skims to train on and to predict; gives what the first of the two printed."""
        printed = [
            self.run(
                "preprocess.py", "--config-path", f"configs/preprocess/{kind}", "--config-name", analysis, *overrides
            )
            for kind in ("training_data", "prediction_data")
        ]
        return printed[0]

    def train(self, *overrides: str) -> str:
        """Train, and give the run ID with which the terminal ends."""
        return re.findall(r"\brun_id +([0-9a-f]{32})\b", self.run("train.py", *overrides))[-1]

    @contextmanager
    def mlflow(self, command: str, *options: str) -> Iterator[str]:
        """`mlflow ui` or `mlflow server` on this store and a free port of this machine; gives its address."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = self.folder / f"mlflow_{command}.log"
        with log.open("w") as output:
            server = subprocess.Popen(
                [sys.executable, "-m", "mlflow", command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
                 "--backend-store-uri", self.tracking_uri, *options],
                cwd=self.folder, env=environment(), stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        try:
            address = f"http://127.0.0.1:{port}"
            wait_for(f"{address}/health", server, log)
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)  # the group is its own: the server and its workers
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def wait_for(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Until the server answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert server.poll() is None, f"the server ended\n{log.read_text()}"
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"no answer from {address}\n{log.read_text()}")


@pytest.fixture(scope="session")
def new_workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Workplace]:
    """name → an empty `Workplace`."""
    return lambda name: Workplace(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def toy_chain(new_workplace: Callable[[str], Workplace]) -> tuple[Workplace, str]:
    """A small htt toy through the chain up to the evaluation of `test`: (workplace, run ID)."""
    place = new_workplace("toy_chain")
    subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "make_htt_toy.py"), "--scale", "0.1",
         "--output", str(place.folder / "data/htt/2018/original")],
        check=True, env=environment(), capture_output=True,
    )  # fmt: skip
    place.preprocess("htt", "year=2018")
    run_id = place.train("year=2018", "model_param.num_iterations=10", "folds.tolerance=1")
    place.run("predict.py", "--config-name", "for_evaluation", f"run_id={run_id}")
    place.run("evaluate.py", f"run_id={run_id}", "dataset=test")
    return place, run_id
