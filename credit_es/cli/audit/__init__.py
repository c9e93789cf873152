"""``credit-es audit``: the auditors' questions; none of them records anything."""

import typer

from credit_es.cli import explain
from credit_es.cli.audit import asof, backtest, export, history, report, search, verify

app = typer.Typer(no_args_is_help=True, help="What an auditor asks of the log.")

# A module a command, as in `credit_es/cli/main.py`.
app.command()(history.history)
app.command("as-of")(asof.as_of)
app.command()(asof.diff)
app.command()(explain.explain)
app.command()(backtest.backtest)
app.command()(search.search)
app.command()(export.export)
app.command()(export.import_check)
app.command()(report.portfolio_report)
app.command()(verify.verify)
