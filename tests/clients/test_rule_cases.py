"""The language of rules as a running broker has it: every case of the library's table through `rule_test`."""

import json

from rule_cases import cases


def exactly(value):
    """`value` as text: 1, 1.0 and true are three."""
    return json.dumps(value, sort_keys=True)


def test_every_case_is_answered_as_the_library_does(api):
    n, wrong = 0, []
    for n, case in enumerate(cases(), 1):
        got = api.request("POST", "/rule_test", case.body)
        if (got.status, exactly(got.json)) != (case.status, exactly(case.answer)):
            expected = f"{case.status} {case.answer}"
            wrong.append(f"{case.name}\n  expected {expected}\n  got {got}")
    assert n >= 300
    assert not wrong, f"{len(wrong)} of {n}:\n" + "\n".join(wrong[:20])
