"""The README's tour runs as written, on a service that has just been started."""

import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import duckdb
import pytest

from tests.faults.service import Service
from tests.processes import LISTED, until

pytestmark = [
    pytest.mark.fault,
    pytest.mark.skipif(not LISTED, reason="only Linux lists processes with their environment"),
]

README = Path(__file__).parents[2] / "README.md"
AUDITING = README.parent / "docs" / "auditing.md"


WIDTH = 80
"""Of a terminal."""


def tour(page: Path, kind: str = "tour", language: str = "sh") -> str:
    """The commands of a page that are to be run."""
    pattern = rf"<!-- {kind}:[^>]*-->\n```{language}\n(.*?)```"
    found = re.search(pattern, page.read_text(), re.DOTALL)
    assert found
    return found[1]


def ingestions(service: Service) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/ingestions") as answer:
        content: bytes = answer.read()
        return content


def take(service: Service, script: str, folder: Path) -> str:
    """Run commands as they stand on a page; returns what they said."""
    script = script.replace("localhost:8000", f"localhost:{service.port}")
    script = script.replace(".venv/bin/credit-es", f"{sys.executable} -P -m credit_es.cli.main")
    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=service.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_tours_run_as_written(new_service: Service, tmp_path: Path) -> None:
    service = new_service
    service.environ["CREDIT_SAMPLE_DATA"] = "1"
    service.start()
    until(lambda: b'"succeeded"' in ingestions(service))
    (tmp_path / "data").symlink_to(README.parent / "data")
    take(service, tour(README), tmp_path)
    said = take(service, tour(README), tmp_path)  # again, on what the first one left
    assert '"approved_limit":1800000' in said
    assert len(set(re.findall(r'"loan_id":\d+', said))) == 1
    assert re.search(r"customers +│ +40 │ +0 │ +40 ", said)
    assert re.search(r"loans +│ +100 │ +0 │ +100 ", said)
    assert "The read tables are what the log says." in said

    take(service, tour(AUDITING), tmp_path)
    said = take(service, tour(AUDITING), tmp_path)
    assert [line for line in said.splitlines() if "│" in line and len(line) > WIDTH] == []
    assert "Reversed" in said  # the rest is folded in a narrow column
    assert re.search(r"Sheet1 row \d+", said)
    assert re.search(r"repayments_left +│ +12 +│ +11 ", said)
    assert "all loans" in said
    assert re.search(r"portfolio.xlsx has \d+ loans", said)
    assert "all is well." in said
    assert "it comes out the same" in said
    assert re.search(r"Every decision of the log comes out the same: \d+ made again", said)
    assert '"step":"score"' in said
    assert '"same":true' in said
    assert "imported:" in said
    assert '"against":"standard"' in said
    assert (tmp_path / "backtest.svg").stat().st_size > 0
    assert "The export is what the log says." in said
    assert zipfile.ZipFile(tmp_path / "facts.zip").namelist() == ["facts.csv", "manifest.json"]
    query = tour(AUDITING, "duckdb", "sql").replace("export/", f"{tmp_path}/export/")
    result = duckdb.sql(query)
    assert result is not None
    found = result.fetchall()
    assert sum(loans for _, _, loans, _ in found) > 100


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_two_commands_come_first(command: str) -> None:
    first = README.read_text().split("```")[1]
    assert command in first
