"""The command as a shell runs it, in this process, on a log of some applications."""

from collections.abc import Callable, Iterator

import pytest
from msgspec import Struct

from credit_es.application import By, Lending
from credit_es.cli.main import main
from projections.rebuild import rebuilder
from tests.store.given import asks, person, settings

Command = Callable[..., "Answer"]


class Answer(Struct, frozen=True, kw_only=True):
    """What a command says, and its exit code."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs ``credit-es`` with some words; a traceback fails the test."""

    def run(*words: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["credit-es", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Answer(code=int(ended.value.code or 0), out=said.out, err=said.err)

    return run


@pytest.fixture
def lending(database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lending]:
    """A log on which the commands work: applications, one of them declined, and read tables."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("CREDIT_SCHEMA", schema)
    one = Lending(settings(database_url, schema), pool_size=2)
    who = one.register(person(), By(actor="=cmd()", correlation_id="+1")).customer_number
    for amount in ("100000.00", "9000000.00"):
        one.apply_for_loan(asks(who, amount), By(actor="@asha", correlation_id="-x"))
    with rebuilder(database_url, schema) as builder:
        builder.prepare()
    yield one
    one.close()
