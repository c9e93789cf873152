"""Loaded by schemathesis: of the ids and days that it makes up, most give way to such as there are.

Only what is well-formed is exchanged, so that a case that is meant to be refused still is. One in
so many is left as it was made up.
"""

import json
import os
import re
from itertools import cycle
from typing import Any, Final

import schemathesis

from api.fields import PATH_PARAMETERS, path_day

KNOWN: Final[dict[str, list[int | str]]] = json.loads(os.environ["CREDIT_TEST_KNOWN"])
"""What there is, by the name of a parameter or a field."""
TURNS: Final = {name: cycle([*values, None]) for name, values in KNOWN.items()}


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Exchange what a request names, unless a link gave it."""
    if case.meta is not None and case.meta.phase.name.name == "STATEFUL":
        return
    for given in (case.path_parameters, case.query, case.body):
        if not isinstance(given, dict):
            continue
        for name in given.keys() & KNOWN.keys():
            known = next(TURNS[name])
            if known is not None and _is_well_formed(name, given[name]):
                given[name] = known
        if "repayment_id" in given and given["repayment_id"] in KNOWN["repayment_id"]:
            given["loan_id"] = int(given["repayment_id"].partition("-")[0])


def _is_well_formed(name: str, value: Any) -> bool:
    schema = PATH_PARAMETERS.get(name, {"format": "date"})
    if schema.get("type") == "integer":
        return type(value) is int and schema["minimum"] <= value <= schema["maximum"]
    if not isinstance(value, str):
        return False
    if schema.get("format") == "date":
        return path_day(value) is not None
    if "enum" in schema:
        return value in schema["enum"]
    return re.fullmatch(schema["pattern"], value, re.ASCII) is not None
