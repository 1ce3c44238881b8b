"""docs/reference/rest-api-v3.zh.md as data: every request it documents, with parameters and answer.

The document has no markup: headings, labels, requests and JSON are plain lines. What its lines are is told by their
form alone; nothing is corrected here. Run it to see the table of what it found.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

PATH = Path(__file__).resolve().parents[2] / "docs/reference/rest-api-v3.zh.md"

REQUEST = re.compile(r"(GET|POST|PUT|DELETE) (api/v3/\S*)$")
# A row of the two tables of parameters, which lost their columns: name, type, text.
PARAMETER = re.compile(r"\s*(•)?[\s|]*(\w+?)\s*\|?\s*(String|JSON Array|JSON Object)\s*,(.*)$")
PLACEHOLDER = re.compile(r"\$\{(\w+)\}|:(\w+)")

DEFINITION = "API 定义:"
PARAMETERS = "参数定义:"
ERROR = "错误示例:"
ANSWER = ("返回数据:", "返回数据示例:")
# What follows is a request or, for what has a body, the body.
ASKS = ("请求示例:", "请求参数:", "请求参数示例:", "请求参示例:", "参数示例:")
LABELS = (DEFINITION, PARAMETERS, ERROR, *ANSWER, *ASKS)


@dataclass(frozen=True)
class Parameter:
    """A row of a table of parameters."""

    name: str
    type: str
    optional: bool
    nested: bool


@dataclass
class Example:
    """A request and its answer as the document prints them."""

    line: int
    method: str | None
    # With its query; `None` if only an answer is printed.
    path: str | None
    body: dict | None
    answer: dict

    def __str__(self):
        return f"{self.method} {self.path}" if self.method else f"line {self.line}"


@dataclass
class Section:
    """All between one heading and the next."""

    title: str
    line: int
    method: str | None = None
    # With placeholders and the query, behind `api/v3`.
    definition: str | None = None
    parameters: list[Parameter] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)


@dataclass
class Document:
    text: str
    sections: list[Section]
    # Lines that are neither heading, label, request, parameter nor JSON, by their numbers.
    prose: dict[int, str]

    def examples(self):
        """All examples with their sections."""
        return [(section, example) for section in self.sections for example in section.examples]


def read(path=PATH):
    return parse(path.read_text(encoding="utf-8"))


def parse(text):
    """Cuts the document into sections. A form that it does not have raises `ValueError` with the line."""
    sections, prose = [], {}
    heading = request = body = label = None

    def wrong(line, what):
        raise ValueError(f"line {line}: {what}")

    def close(line):
        if request or body:
            wrong(line, "the section before has a request without an answer")

    for line, kind, value in tokens(text):
        section = sections[-1] if sections else None
        if kind == "label" and value in (DEFINITION, ERROR):
            close(line)
            if heading is None:
                wrong(line, f"{value} without a heading")
            sections.append(Section(heading[1], heading[0]))
            prose.pop(heading[0])
            heading, label = None, value
        elif kind == "label":
            label = value
        elif kind == "request" and label == DEFINITION:
            section.method, section.definition = value[0], value[1]
            label = None
        elif kind == "request":
            request = value
        elif kind == "json" and label in ASKS:
            body = value
        elif kind == "json" and label in ANSWER:
            asked = request or (
                section.method,
                None if placeholders(section) else section.definition,
            )
            if heading:
                # An answer that belongs to no request: the one that shows paging.
                sections.append(Section(heading[1], heading[0]))
                section, asked = sections[-1], (None, None)
                prose.pop(heading[0])
            elif asked[0] and asked[1] is None:
                wrong(line, "an answer without a request")
            section.examples.append(Example(line, *asked, body, value))
            heading = request = body = None
        elif kind == "json":
            wrong(line, "JSON that is neither body nor answer")
        elif kind == "text" and label == PARAMETERS and PARAMETER.match(value):
            nested, name, of_type, rest = PARAMETER.match(value).groups()
            section.parameters.append(Parameter(name, of_type, "可选" in rest, bool(nested)))
        else:
            prose[line] = value.strip()
            # The last line of words before a definition, or before an answer without a request, is a heading.
            heading = heading if re.search("[::]", value) else (line, value.strip())
            label = None
    close(text.count("\n"))
    return Document(text, sections, prose)


def tokens(text):
    """Lines as (number, kind, value); kind is label, request, json or text. Blank lines are passed over."""
    lines = text.split("\n")
    at = 0
    while at < len(lines):
        line = lines[at]
        number = at + 1
        at += 1
        if not line.strip():
            continue
        if line in LABELS:
            yield number, "label", line
        elif found := REQUEST.match(line):
            yield number, "request", (found[1], found[2].removeprefix("api/v3"))
        elif line == "{":
            end = lines.index("}", at)
            yield number, "json", json.loads("\n".join(lines[at - 1 : end + 1]))
            at = end + 1
        else:
            yield number, "text", line


def placeholders(section):
    """Names of the placeholders of a section's definition, `${node}` and `:resource_id` alike."""
    return [a or b for a, b in PLACEHOLDER.findall(section.definition or "")]


def fill(definition, example, values):
    """The path of an example with `values` (name -> text, percent-encoded) in the places of the definition.

    The query is that of the example, with placeholders of the definition's filled likewise.
    """
    (path, _, query), (shown, _, shown_query) = definition.partition("?"), example.partition("?")
    parts, shown_parts = path.split("/"), shown.split("/")
    if len(parts) != len(shown_parts):
        raise ValueError(f"{example} is no example of {definition}")
    made = [replace(part, given, values) for part, given in zip(parts, shown_parts)]
    pairs = dict(pair.split("=", 1) for pair in query.split("&") if pair)
    given = dict(pair.split("=", 1) for pair in shown_query.split("&") if pair)
    query = [f"{k}={replace(pairs.get(k, v), v, values)}" for k, v in given.items()]
    return "/".join(made) + ("?" + "&".join(query) if query else "")


def replace(part, given, values):
    found = PLACEHOLDER.fullmatch(part)
    name = found and (found[1] or found[2])
    return values.get(name, given) if found else given


def table(document):
    """A row for each documented request, for people."""
    rows = []
    for section, example in document.examples():
        body = ",".join(example.body or {}) or ",".join(p.name for p in section.parameters) or "-"
        rows.append(
            (
                str(example.line),
                section.method or "-",
                section.definition or "-",
                str(example),
                body,
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


if __name__ == "__main__":
    made = read()
    print(table(made))
    print(f"{len(made.sections)} sections, {len(made.examples())} examples")
    for number, words in made.prose.items():
        print(f"prose {number}: {words}")
