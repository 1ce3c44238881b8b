"""The cases of the rules' language, as `broker-rules/tests/cases` has them."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "broker-rules/tests/cases"
NO_MATCH = {"code": 0, "data": None, "matched": False}


@dataclass
class Case:
    name: str
    # The request to `rule_test`, and what it answers.
    body: dict
    status: int
    answer: dict


def gives(data):
    return 200, {"code": 0, "data": data}


def fails(cause):
    # Only what is wrong with `for` or FROM is not said of the statement.
    is_whole = cause.startswith(("Hook ", "Bad Arguments"))
    message = cause if is_whole else f"Bad Arguments: SQL: {cause}"
    return 400, {"code": 400, "message": message}


def cases():
    """All that have no limits of their own."""
    for path in sorted(FOLDER.glob("*.toml")):
        file = tomllib.loads(path.read_text())
        columns = json.loads(file.get("columns", "{}"))
        for written in file.get("case", []):
            if "limits" not in written:
                yield of_case(path.stem, columns, written)
        for table in file.get("table", []):
            if "limits" not in table:
                yield from of_table(path.stem, columns, table)


def of_case(theme, shared, written):
    ctx = {**shared, **json.loads(written.get("columns", "{}"))}
    if "payload" in written:
        ctx["payload"] = written["payload"]
    body = {"rawsql": written["sql"], "ctx": ctx}
    if "for" in written:
        body["for"] = written["for"]
    if "gives" in written:
        answer = gives(json.loads(written["gives"]))
    elif "matched" in written:
        answer = 200, NO_MATCH
    else:
        answer = fails(written.get("error") or written["refused"])
    return Case(f"{theme}: {written['name']}", body, *answer)


def of_table(theme, ctx, table):
    def case(text, sql, answer):
        return Case(f"{theme}: {table['name']}: {text}", {"rawsql": sql, "ctx": ctx}, *answer)

    for text, value in table.get("values", []):
        if value.startswith("error: "):
            answer = fails("SELECT, field 1: " + value.removeprefix("error: "))
        else:
            answer = gives({} if value == "undefined" else {"x": json.loads(value)})
        yield case(text, f'SELECT {text} AS x FROM "t/#"', answer)
    for text in table.get("holds", []):
        yield case(text, f'SELECT 1 AS matched FROM "t/#" WHERE {text}', gives({"matched": 1}))
    for text in table.get("holds_not", []):
        yield case(text, f'SELECT 1 AS matched FROM "t/#" WHERE {text}', (200, NO_MATCH))
    for text, cause in table.get("refused", []):
        yield case(text, text, fails(cause))
