"""Work spread over the cores: a task a process, and each process ends with who started it."""

import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final, TypeVar

CORES: Final = os.cpu_count() or 1
SMALL: Final = 50_000
"""Facts of a log that one process folds sooner than others have started."""
LOOK_EVERY_S: Final = 1.0
WORK: Final = "from projections.spread import work; work()"

T = TypeVar("T")
Report = Callable[[float], None]
"""Called now and then with the share that is done, from 0 to 1."""
Task = Callable[[Report], T]
"""Anything that pickles, as does what it returns and raises."""


class LostError(Exception):
    """A process ended without an answer: what it was to do is not done."""


def processes_for(head: int) -> int:
    """How many processes read a log that reaches up to ``head``."""
    return CORES if head > SMALL else 1


def spread(
    tasks: Sequence[Task[T]], report: Report, look: Callable[[], object] = lambda: None
) -> list[T]:
    """Do every task at once, in a process each; one alone is done here.

    ``look`` is called every second, and ends the processes by raising. Raises what the first task
    that fails does, and ``LostError``.
    """
    if len(tasks) == 1:
        return [tasks[0](report)]
    processes: list[subprocess.Popen[bytes]] = []
    answers: list[Connection] = []
    try:
        for task in tasks:
            answer, theirs = multiprocessing.Pipe()
            answers.append(answer)
            with theirs:
                processes.append(_start(theirs))
            answer.send(task)
        return _listen(answers, report, look)
    except (EOFError, ConnectionError) as error:
        raise LostError("one of the processes at work was ended from outside: try again") from error
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for answer in answers:
            answer.close()


def _start(theirs: Connection) -> "subprocess.Popen[bytes]":
    """A process that waits for its task; multiprocessing's own would import our command first."""
    return subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-P", "-c", WORK, str(theirs.fileno())],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        pass_fds=[theirs.fileno()],
        start_new_session=True,  # Ctrl-C is for the parent, which ends it
    )


def work() -> None:
    """What such a process does; it ends with the process that started it, however that ends."""
    answer: Connection = Connection(int(sys.argv[1]))
    task: Task[Any] = answer.recv()
    threading.Thread(target=_follow, args=(answer,), daemon=True).start()
    try:
        done = task(lambda share: answer.send(("share", share)))
    except Exception as error:  # noqa: BLE001 - the parent raises it
        answer.send(("raised", error))
    else:
        answer.send(("done", done))


def _follow(answer: Connection) -> None:
    """Nothing more is ever sent: what is received is the end of the parent."""
    try:
        answer.recv()
    finally:
        os._exit(1)


def _listen(answers: Sequence[Connection], report: Report, look: Callable[[], object]) -> list[Any]:
    """Hear each process until it has said what its task came to."""
    shares = dict.fromkeys(answers, 0.0)
    done: dict[Connection, Any] = {}
    while len(done) < len(answers):
        for answer in wait([each for each in answers if each not in done], LOOK_EVERY_S):
            assert isinstance(answer, Connection)
            kind, value = answer.recv()
            match kind:
                case "raised":
                    raise value
                case "share":
                    shares[answer] = value
                case _:
                    done[answer] = value
        report(sum(shares.values()) / len(shares))
        look()
    return [done[answer] for answer in answers]
