//! What is refused, and where.

use crate::sql::Place;
use crate::sql::tests::reading::refused;

#[test]
fn an_error_names_its_place_and_what_it_found() {
    let table = [
        ("", "line 1, column 1: expected SELECT or FOREACH, found end of text"),
        ("  -- nothing", "line 1, column 13: expected SELECT or FOREACH, found end of text"),
        ("DELETE x", "line 1, column 1: expected SELECT or FOREACH, found DELETE"),
        ("SELECT", "line 1, column 7: expected an expression, found end of text"),
        ("SELECT *", "line 1, column 9: expected FROM, found end of text"),
        ("SELECT a,\nFROM t", "line 2, column 1: expected an expression, found FROM"),
        ("SELECT '温度' x y FROM t", "line 1, column 15: expected FROM, found y"),
        (
            "SELECT * FROM",
            "line 1, column 14: expected a topic filter or the name of an event, found end of text",
        ),
        ("SELECT * FROM t/a", "line 1, column 16: expected WHERE or end of text, found `/`"),
        (
            "SELECT * FROM t,",
            "line 1, column 17: expected a topic filter or the name of an event, found end of text",
        ),
        ("SELECT * FROM t;;", "line 1, column 17: expected end of text, found `;`"),
        ("SELECT * FROM t; SELECT", "line 1, column 18: expected end of text, found SELECT"),
        ("SELECT * FROM t WHERE", "line 1, column 22: expected an expression, found end of text"),
        ("SELECT * FROM t WHERE a b", "line 1, column 25: expected end of text, found b"),
        (
            "SELECT * FROM t WHERE a 'b'",
            "line 1, column 25: expected end of text, found string 'b'",
        ),
        ("SELECT a AS from FROM t", "line 1, column 13: expected a name, found from"),
        ("SELECT a LIKE 'x%' FROM t", "line 1, column 15: unexpected string after alias `LIKE`"),
        ("SELECT a IS NULL FROM t", "line 1, column 13: expected FROM, found NULL"),
        ("SELECT a BETWEEN 1 AND 2 FROM t", "line 1, column 18: expected FROM, found 1"),
        ("SELECT a || b FROM t", "line 1, column 10: unexpected character `|`"),
        ("SELECT a ~= b FROM t", "line 1, column 10: unexpected character `~`"),
        ("SELECT COUNT(*) FROM t", "line 1, column 14: expected an expression, found `*`"),
        ("SELECT * FROM t JOIN u", "line 1, column 17: expected WHERE or end of text, found JOIN"),
        (
            "SELECT * FROM t ORDER BY a",
            "line 1, column 17: expected WHERE or end of text, found ORDER",
        ),
        (
            "SELECT * FROM t LIMIT 1",
            "line 1, column 17: expected WHERE or end of text, found LIMIT",
        ),
        (
            "SELECT * FROM t GROUP BY a",
            "line 1, column 17: expected WHERE or end of text, found GROUP",
        ),
        (
            "SELECT * FROM (SELECT a FROM b)",
            "line 1, column 15: expected a topic filter or the name of an event, found `(`",
        ),
        ("SELECT 'a FROM t", "line 1, column 8: string is not closed"),
        ("SELECT 'a'' FROM t", "line 1, column 8: string is not closed"),
        ("SELECT \"a FROM t", "line 1, column 8: quoted name is not closed"),
        ("SELECT 'a\0' FROM t", "line 1, column 10: U+0000 is not allowed"),
        // The first fault counts, not the first bad token.
        ("SELECT a, FROM | 'x", "line 1, column 11: expected an expression, found FROM"),
        (
            "SELECT a < b < c FROM t",
            "line 1, column 14: comparisons cannot be chained: use parentheses",
        ),
        (
            "SELECT a IN (1) = b FROM t",
            "line 1, column 17: comparisons cannot be chained: use parentheses",
        ),
        ("SELECT a IN () FROM t", "line 1, column 14: expected an expression, found `)`"),
        ("SELECT a NOT b FROM t", "line 1, column 14: expected IN, found b"),
        ("SELECT a IN (1 FROM t", "line 1, column 16: expected `,` or `)`, found FROM"),
        ("SELECT (a FROM t", "line 1, column 11: expected `)`, found FROM"),
        ("SELECT .5 FROM t", "line 1, column 8: expected an expression, found `.`"),
        ("SELECT 5. FROM t", "line 1, column 9: expected FROM, found `.`"),
        ("SELECT 1.b FROM t", "line 1, column 9: expected FROM, found `.`"),
        (
            "SELECT a.1.100 FROM t",
            "line 1, column 10: 1.100 may be a number or several keys: put keys in quotes",
        ),
        ("SELECT a[1].[2] FROM t", "line 1, column 13: expected a key, found `[`"),
        ("SELECT a[] FROM t", "line 1, column 10: expected an integer, found `]`"),
        ("SELECT a['x'] FROM t", "line 1, column 10: expected an integer, found string 'x'"),
        ("SELECT x[1..3].y FROM t", "line 1, column 15: nothing may follow the range of a path"),
        ("SELECT x[1..3][1] FROM t", "line 1, column 15: nothing may follow the range of a path"),
        ("SELECT a AS x[1..3] FROM t", "line 1, column 15: a range is not allowed here"),
        ("SELECT a[b[1..2]] FROM t", "line 1, column 12: a range is not allowed here"),
        ("SELECT [1 ..4] FROM t", "line 1, column 11: blanks are not allowed around `..`"),
        ("SELECT [1.. 4] FROM t", "line 1, column 10: blanks are not allowed around `..`"),
        ("SELECT [1..a] FROM t", "line 1, column 12: expected an integer, found a"),
        ("SELECT [1,] FROM t", "line 1, column 11: expected an expression, found `]`"),
        ("SELECT f(a,) FROM t", "line 1, column 12: expected an expression, found `)`"),
        ("SELECT \"f\"(a) FROM t", "line 1, column 11: expected FROM, found `(`"),
        ("SELECT CASE a END FROM t", "line 1, column 15: expected WHEN, found END"),
        ("SELECT CASE WHEN a END FROM t", "line 1, column 20: expected THEN, found END"),
        (
            "SELECT CASE WHEN a THEN b FROM t",
            "line 1, column 27: expected WHEN, ELSE or END, found FROM",
        ),
        ("SELECT CASE WHEN a THEN b ELSE c FROM t", "line 1, column 34: expected END, found FROM"),
        ("SELECT if FROM t", "line 1, column 8: expected an expression, found if"),
        ("SELECT * WHERE a FROM t", "line 1, column 10: expected FROM, found WHERE"),
        ("FOREACH a DO b INCASE FROM t", "line 1, column 23: expected an expression, found FROM"),
        ("SELECT 9223372036854775808 FROM t", "line 1, column 8: integer is beyond 64 bits"),
        ("SELECT 1 - 9223372036854775808 FROM t", "line 1, column 12: integer is beyond 64 bits"),
        ("SELECT a[99999999999999999999] FROM t", "line 1, column 10: integer is beyond 64 bits"),
        ("SELECT 1e999 FROM t", "line 1, column 8: number is too large"),
    ];
    for (sql, expected) in table {
        assert_eq!(refused(sql), expected, "{sql}");
    }
}

#[test]
fn columns_count_characters() {
    let text = "é\n温度x";
    let place = |at| {
        let place = Place::of(text, at);
        (place.line, place.column)
    };
    assert_eq!([place(0), place(2), place(3), place(9)], [(1, 1), (1, 2), (2, 1), (2, 3)]);
    assert_eq!(place(99), (2, 4), "beyond the end is the end");
}

#[test]
fn an_error_shows_the_beginning_of_a_long_token() {
    let sql = format!("SELECT a 'x{}' FROM t", "温".repeat(1000));
    assert_eq!(
        refused(&sql),
        "line 1, column 10: expected FROM, found string 'x".to_owned() + &"温".repeat(38) + "…"
    );
}
