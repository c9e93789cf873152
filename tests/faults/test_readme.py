"""The README's tour runs as written, on a service that has just been started."""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.faults.service import Service
from tests.processes import LISTED, until

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their environment"),
]

README = Path(__file__).parents[2] / "README.md"


def tour() -> str:
    found = re.search(r"<!-- tour:[^>]*-->\n```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found[1]


def ingestions(service: Service) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/ingestions") as answer:
        content: bytes = answer.read()
        return content


def test_the_tour_runs_as_written(new_service: Service, tmp_path: Path) -> None:
    service = new_service
    service.environ["CREDIT_SAMPLE_DATA"] = "1"
    service.start()
    until(lambda: b'"succeeded"' in ingestions(service))
    script = tour().replace("localhost:8000", f"localhost:{service.port}")
    script = script.replace(".venv/bin/credit-es", f"{sys.executable} -P -m credit_es.cli.main")
    (tmp_path / "data").symlink_to(README.parent / "data")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=service.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert '"approved_limit":1800000' in ran.stdout
    assert len(set(re.findall(r'"loan_id":\d+', ran.stdout))) == 1
    assert re.search(r"customers +│ +40 │ +0 │ +40 ", ran.stdout)
    assert re.search(r"loans +│ +100 │ +0 │ +100 ", ran.stdout)
    assert "The read tables are what the log says." in ran.stdout


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_two_commands_come_first(command: str) -> None:
    first = README.read_text().split("```")[1]
    assert command in first
