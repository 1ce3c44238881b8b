//! Corners of strings.

use crate::functions::tests::calls::run;

#[test]
fn users_characters_count_as_one() {
    for (call, expected) in [
        ("strlen('e\u{301}a')", "2"),
        ("strlen('👨‍👩‍👧')", "1"),
        ("strlen('\r\n')", "1"),
        ("reverse('e\u{301}a')", "\"ae\u{301}\""),
        ("substr('e\u{301}ab', 1, 1)", "\"a\""),
        ("substr('你好吗', 1)", "\"好吗\""),
        ("substr('abc', 1, 9223372036854775807)", "\"bc\""),
        ("substr('abc', 0, 0)", "\"\""),
        ("pad('e\u{301}', 3, 'leading', '*')", "\"**e\u{301}\""),
        ("lower('ΑΣ')", "\"ας\""),
        (
            "strlen(hexstr2bin('FF'))",
            "error: strlen: argument 1: expected UTF-8, found other bytes",
        ),
    ] {
        assert_eq!(run(call), expected, "{call}");
    }
}

#[test]
fn cutting_and_joining() {
    for (call, expected) in [
        ("split('abc', 'abc')", "[]"),
        ("split('abc', 'abc', 'notrim')", "[\"\",\"\"]"),
        ("split('/a/b', '/', 'leading')", "[\"a/b\"]"),
        ("split('/a/b', '/', 'leading_notrim')", "[\"\",\"a/b\"]"),
        ("split('a/b/', '/', 'trailing')", "[\"a/b\"]"),
        ("split('ab', '/', 'trailing')", "[\"ab\"]"),
        ("split('', '')", "[]"),
        ("tokens('', ',')", "[]"),
        ("tokens('ab', '')", "[\"ab\"]"),
        ("tokens('好,吗', '好,')", "[\"吗\"]"),
        ("trim('\u{2028}\u{85} a\u{a0} ')", "\"a\u{a0}\""),
        ("rtrim('abcc', 'bc')", "\"a\""),
        ("find('', '')", "\"\""),
        ("find('abc', '')", "\"abc\""),
        ("replace('aaa', 'aa', 'b')", "\"ba\""),
        ("replace('abab', 'b', 'x', 'leading')", "\"axab\""),
        ("pad('abc', 7, 'both')", "\"  abc  \""),
        ("unescape('a\\')", "error: unescape: argument 1: an unknown escape sequence"),
        ("unescape('\\\\n')", "\"\\\\n\""),
        ("unescape('\\x4')", "error: unescape: argument 1: an unknown escape sequence"),
        ("sprintf('~~n~n')", "\"~n\\n\""),
        ("sprintf('~e', 15)", "\"1.500000e+01\""),
        ("sprintf('~')", "error: sprintf: argument 1: an unknown directive in the format"),
        ("sprintf('~x', 1)", "error: sprintf: argument 1: an unknown directive in the format"),
        ("sprintf('x', 1)", "error: sprintf: there are too many values for the format"),
        ("sprintf('~p ~w', map_new(), null())", "\"{} undefined\""),
    ] {
        assert_eq!(run(call), expected, "{call}");
    }
}
