"""Compares an answer with an example of it: keys, nesting, JSON types, and the form of texts that have one."""

import re

# Forms that texts of the document have. Where the example's text has one, the answer's has to have it too; the first
# that fits counts.
FORMS = {
    "time": r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
    "uptime": r"(((\d+ days,)?\d+ hours, )?\d+ minutes, )?\d+ seconds",
    "load": r"\d+\.\d\d",
    "memory": r"\d+\.\d\d[KMG]",
    "version": r"v\d+\.\d+\.\d+.*",
    "decimal": r"\d+\.\d+",
    "address": r"\d+\.\d+\.\d+\.\d+",
    "listen_on": r"(\d+\.\d+\.\d+\.\d+:)?\d+",
}


class AnyOf:
    """Stands in an example where one of several is right."""

    def __init__(self, *examples):
        self.examples = examples


class MapOf:
    """Stands in an example for an object with any keys, whose values are all alike."""

    def __init__(self, value):
        self.value = value


class Anything:
    """Stands in an example where every type is right."""


class Empty:
    """Stands in an example for an array that has to be empty."""


def differences(example, answer, extra=None, at=""):
    """What of `answer` is not as in `example`, one text each.

    Elements of an array are all compared with the example's first; an example that has elements needs an answer that
    has some. `extra` names keys that the example lacks, by the place of their object: `{"data[]": {"id"}}`.
    """
    extra = extra or {}
    where = at or "answer"
    if isinstance(example, AnyOf):
        return any_of(example, answer, extra, at)
    if isinstance(example, MapOf):
        if not isinstance(answer, dict):
            return [f"{where}: {kind(answer)} instead of object"]
        example = {key: example.value for key in answer}
    if example is Anything:
        return []
    if example is Empty:
        return [] if answer == [] else [f"{where}: {answer!r} instead of an empty array"]
    if kind(example) != kind(answer):
        return [f"{where}: {kind(answer)} {answer!r} instead of {kind(example)} {example!r}"]
    if isinstance(example, dict):
        found = [f"{where}: lacks {key}" for key in sorted(set(example) - set(answer))]
        more = set(answer) - set(example) - extra.get(at, set())
        found += [f"{where}: {key} is not in the example" for key in sorted(more)]
        for key in sorted(set(example) & set(answer)):
            place = f"{at}.{key}" if at else key
            found += differences(example[key], answer[key], extra, place)
        return found
    if isinstance(example, list):
        if example and not answer:
            return [f"{where}: is empty, nothing to compare"]
        first = example[:1] * len(answer)
        return [d for e, a in zip(first, answer) for d in differences(e, a, extra, f"{at}[]")]
    if isinstance(example, str):
        form = form_of(example)
        if form and not re.fullmatch(FORMS[form], answer):
            return [f"{where}: {answer!r} has not the form of {example!r} ({form})"]
    return []


def any_of(example, answer, extra, at):
    tries = [differences(one, answer, extra, at) for one in example.examples]
    return min(tries, key=len)


def form_of(text):
    return next((name for name, form in FORMS.items() if re.fullmatch(form, text)), None)


def kind(value):
    """The JSON type; whole numbers and others are two."""
    names = {dict: "object", list: "array", str: "text", bool: "boolean", int: "integer"}
    return names.get(type(value), "null" if value is None else "number")


def put(example, path, value):
    """A copy of `example` with `value` at a place such as `data[].shutdown_count`, in every element of arrays."""
    if not path:
        return value
    name, _, rest = path.partition(".")
    name, brackets, _ = name.partition("[]")
    below = example[name]
    if brackets:
        changed = [put(one, rest, value) for one in below]
    else:
        changed = put(below, rest, value)
    return {**example, name: changed}


def has_place(answer, place):
    """Whether `put` would find it."""
    for name in place.split("."):
        name, brackets, _ = name.partition("[]")
        if not isinstance(answer, dict) or name not in answer:
            return False
        answer = answer[name]
        if brackets:
            if not isinstance(answer, list) or not answer:
                return False
            answer = answer[0]
    return True
