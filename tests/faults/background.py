"""What goes on beside a test, until the test is done with it."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def in_turns(*turns: Callable[[int], None]) -> Iterator[None]:
    """Call each of these again and again, with 1, 2, 3, ..., on a thread of its own.

    What breaks one off is raised at the end, whatever the test came to meanwhile.
    """
    over = threading.Event()
    errors: list[BaseException] = []

    def go_on(turn: Callable[[int], None]) -> None:
        try:
            for number in itertools.count(1):
                if over.is_set():
                    return
                turn(number)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must see it
            errors.append(error)

    threads = [threading.Thread(target=go_on, args=(turn,)) for turn in turns]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
        if errors:
            raise errors[0]
