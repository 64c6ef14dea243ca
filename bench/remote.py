"""A caller in a process of its own: it loads one application only, and its CPU time can be told from the benchmark's.

`python -m bench.remote` reads verbs as JSON lines and answers each with what it returned.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from bench.apps import Place
from bench.caller import caller_of

ROOT = Path(__file__).parents[1]


class RemoteCaller:
    """Calls the verbs of `bench.caller.Caller` over there."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Start the process."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.remote"],
            cwd=ROOT,
            # The workers' variables: without them the module of the tasks would make an application of its own.
            env=plain_environment() | {"BENCH_CALLER": json.dumps(self._place.environment())},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        assert self._process is not None
        with suppress(OSError):
            self._process.communicate(timeout=10)
        self._process.kill()
        self._process.wait()

    def __call__(self, verb: str, *arguments: Any) -> Any:
        """What the verb returned; raises RuntimeError when the process ended (its reason is on the standard error)."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the {self._place.stack} caller ended at {verb}{arguments}")
        return json.loads(answer)


def plain_environment() -> dict[str, str]:
    """Our environment without what would change what is measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("TRILHO_", "BENCH_", "CELERY_"))}


def serve() -> None:
    """Answer verbs until the input ends."""
    caller = caller_of(Place.from_environment(json.loads(os.environ["BENCH_CALLER"])))
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(getattr(caller, verb)(*arguments)), flush=True)


if __name__ == "__main__":
    serve()
