"""Fixtures of the faults' tests."""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from credit_es.home import home_of
from tests.faults.service import Service
from tests.processes import until
from tests.servers import furnish


@pytest.fixture
def new_service() -> Iterator[Service]:
    """A service that never ran; it is gone after the test, whatever the test did to it."""
    folder = Path(tempfile.mkdtemp(prefix="credit-es-tests-"))
    folder.chmod(0o755)
    one = Service(folder)
    yield one
    if one.child is not None:
        one.child.kill()
        one.child.wait()
    for process in one.processes():
        with suppress(ProcessLookupError):  # the guardian ends them, too
            os.kill(process.pid, signal.SIGKILL)
    until(lambda: not one.processes())
    shutil.rmtree(folder)


@pytest.fixture
def service(new_service: Service) -> Service:
    """One whose servers were made before; nothing was ever recorded there."""
    furnish(home_of(new_service.folder, new_service.environ))
    return new_service
