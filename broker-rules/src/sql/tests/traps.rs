//! What is easily read wrongly.

use crate::sql::ast::{Body, Expr, ExprKind, Field, Sign, Step};
use crate::sql::tests::reading::{field, printed, read};

fn expr(text: &str) -> Expr {
    match read(&format!("SELECT {text} FROM a")).unwrap().body {
        Body::Select(mut fields) => match fields.remove(0) {
            Field::Value { expr, .. } => expr,
            Field::All(_) => panic!("an asterisk"),
        },
        Body::Foreach { .. } => panic!("FOREACH"),
    }
}

#[test]
fn every_clause_is_read() {
    let table = [
        ("select * from abc", r#"SELECT * FROM "abc""#),
        (
            "Select a, payload.x As p.y frOM \"t/#\", 't''s', e WHERE a = 1;",
            r#"SELECT a, payload.x AS p.y FROM "t/#", "t's", "e" WHERE a = 1"#,
        ),
        (
            "FOREACH payload.s as s DO s.id, * INCASE s.id > 1 FROM \"t\" WHERE x ; -- done",
            r#"FOREACH payload.s AS s DO s.id, * INCASE s.id > 1 FROM "t" WHERE x"#,
        ),
        ("FOREACH a FROM b", r#"FOREACH a FROM "b""#),
        ("FOREACH a b INCASE TRUE FROM c", r#"FOREACH a AS b INCASE TRUE FROM "c""#),
    ];
    for (sql, expected) in table {
        assert_eq!(printed(sql), expected);
    }
}

#[test]
fn fields_are_read() {
    let table = [
        // Comments and signs.
        ("1--1\n", "1"),
        ("1 - -1", "1 - -1"),
        ("a-1", "a - 1"),
        ("a -b", "a - b"),
        ("- - a", "- -a"),
        ("-(5)", "-(5)"),
        ("-(-5)", "- -5"),
        ("-+5", "-+5"),
        ("+ +a * -b", "++a * -b"),
        ("-9223372036854775808", "-9223372036854775808"),
        // Names.
        ("divide, model, android, Inn, oR1", "divide, model, android, Inn, oR1"),
        ("_a, a$b@c~1, A, a", "_a, a$b@c~1, A, a"),
        (
            r#""my col", "from", "温度", "a""b", "plain""#,
            r#""my col", "from", "温度", "a""b", "plain""#,
        ),
        ("payload.end, payload.'end', payload.\"end\"", "payload.end, payload.end, payload.end"),
        ("a.true.select", "a.true.select"),
        ("null, undefined", "null, undefined"),
        // Aliases.
        ("a b", "a AS b"),
        ("a AS b.c[1][0][-0][-1][i].d", "a AS b.c[1][0][-0][-1][i].d"),
        ("1b", "1 AS b"),
        ("1 c[0]", "1 AS c[0]"),
        ("1e", "1 AS e"),
        ("1 \"b c\"", "1 AS \"b c\""),
        // Literals.
        ("'it''s', '', '\\d', 'a\nb', ''''", "'it''s', '', '\\d', 'a\nb', ''''"),
        ("1.50, 1e3, 1E-3, 2.5e+2, 1e300", "1.5, 1000.0, 0.001, 250.0, 1e300"),
        ("true, FALSE, True", "TRUE, FALSE, TRUE"),
        ("007", "7"),
        // Paths.
        ("a.1, a.'1'.100, a.007", "a.'1', a.'1'.'100', a.'007'"),
        ("a . b [ 1 ] [ - 2 ]", "a.b[1][-2]"),
        ("a[+1], a[b.c[d]], a[\"x y\"]", "a[1], a[b.c[d]], a[\"x y\"]"),
        ("x[1..3], x.y[-3..-1]", "x[1..3], x.y[-3..-1]"),
        // Ranges and lists.
        ("[1..3], [ -2..+3 ], [2..1]", "[1..3], [-2..3], [2..1]"),
        ("[], [1], [1, 'a', [b]]", "[], [1], [1, 'a', [b]]"),
        // Calls.
        ("f(), f(1, g(x)), DIV(a, 2), mod (a, 2)", "f(), f(1, g(x)), DIV(a, 2), mod(a, 2)"),
        ("mod(a, 2) MOD 3", "mod(a, 2) MOD 3"),
        // CASE.
        (
            "CASE WHEN a > 1 AND b THEN 1 ELSE 2 END c",
            "CASE WHEN a > 1 AND b THEN 1 ELSE 2 END AS c",
        ),
        (
            "case a when 1 then 2 when 3 then case when x then y end end",
            "CASE a WHEN 1 THEN 2 WHEN 3 THEN CASE WHEN x THEN y END END",
        ),
    ];
    for (sql, expected) in table {
        assert_eq!(field(sql), expected, "{sql}");
    }
}

#[test]
fn operators_bind_as_strongly_as_they_should() {
    // What is in parentheses on the right is how the left is read.
    let table = [
        ("a OR b AND c", "a OR (b AND c)"),
        ("NOT x = 1", "NOT (x = 1)"),
        ("NOT a AND b", "(NOT a) AND b"),
        ("NOT NOT a", "NOT (NOT a)"),
        ("NOT a IN (1)", "NOT (a IN (1))"),
        ("a + 1 = b * 2", "(a + 1) = (b * 2)"),
        ("a + 1 IN (1, b OR c)", "(a + 1) IN (1, (b OR c))"),
        ("a - b * c DIV d", "a - ((b * c) DIV d)"),
        ("a - b - c", "((a - b) - c)"),
        ("-a * b", "(-a) * b"),
        ("a * -b", "a * (-b)"),
        ("a DIV b MOD c", "((a DIV b) MOD c)"),
        ("a =~ 'x/#' OR b != c", "(a =~ 'x/#') OR (b <> c)"),
    ];
    for (bare, bracketed) in table {
        // Chains stay flat, so a printed text is compared where brackets nest them.
        if bracketed.starts_with("((") || bracketed.contains("((") {
            let (bare, bracketed) = (field(bare), field(bracketed));
            assert_eq!(bare, bracketed.replace(['(', ')'], ""));
        } else {
            assert_eq!(expr(bare), expr(bracketed), "{bare}");
        }
    }
    let different = [
        ("(a OR b) AND c", "a OR b AND c"),
        ("(NOT x) = 1", "NOT x = 1"),
        ("a - (b - c)", "a - b - c"),
        ("-(a + b)", "-a + b"),
        ("(a = b) = c", "a = (b = c)"),
        ("a * (b / c)", "a * b / c"),
    ];
    for (left, right) in different {
        assert_ne!(expr(left), expr(right));
        assert_eq!(field(left), left, "the brackets stay");
    }
}

#[test]
fn comparisons_have_two_spellings_at_most() {
    let table = [
        ("a=b", "="),
        ("a<>b", "<>"),
        ("a!=b", "<>"),
        ("a<b", "<"),
        ("a<=b", "<="),
        ("a>b", ">"),
        ("a>=b", ">="),
        ("a=~b", "=~"),
    ];
    for (sql, operator) in table {
        assert_eq!(field(sql), format!("a {operator} b"));
    }
    assert_eq!(field("a not in (1, 'b')"), "a NOT IN (1, 'b')");
}

#[test]
fn a_minus_before_a_number_is_part_of_it() {
    assert_eq!(expr("- 5").kind, ExprKind::Integer(-5));
    assert_eq!(expr("-1.5").kind, ExprKind::Float(-1.5));
    assert!(matches!(expr("+5").kind, ExprKind::Sign(Sign::Plus, _)));
    assert!(matches!(expr("-(5)").kind, ExprKind::Sign(Sign::Minus, _)));
    assert!(matches!(expr("1 -5").kind, ExprKind::Arithmetic(..)));
}

#[test]
fn names_know_whether_they_were_quoted() {
    let is_quoted = |text| match expr(text).kind {
        ExprKind::Path(path) => path.is_quoted,
        other => panic!("{other:?}"),
    };
    assert!(is_quoted("\"topic\""));
    assert!(!is_quoted("topic"));
}

#[test]
fn minus_zero_is_not_zero_as_an_index() {
    let steps = |text| match expr(text).kind {
        ExprKind::Path(path) => path.steps,
        other => panic!("{other:?}"),
    };
    assert_eq!(steps("a[0][-0][+0]"), [Step::Index(0), Step::Append, Step::Index(0)]);
}

#[test]
fn nodes_know_where_they_stand() {
    let sql = "SELECT * , ( 1 + 1 )  x, f(a) - b FROM t";
    let Body::Select(fields) = read(sql).unwrap().body else { panic!("not SELECT") };
    let source = |field: &Field| match field {
        Field::All(at) => (at.0, "*"),
        Field::Value { expr, end, .. } => (expr.at.0, &sql[expr.at.0..end.0]),
    };
    let sources: Vec<_> = fields.iter().map(source).collect();
    assert_eq!(sources, [(7, "*"), (11, "( 1 + 1 )"), (25, "f(a) - b")]);
    let Field::Value { expr, .. } = &fields[2] else { panic!("not an expression") };
    let ExprKind::Arithmetic(first, rest) = &expr.kind else { panic!("{expr:?}") };
    assert_eq!((first.at.0, rest[0].at.0, rest[0].operand.at.0), (25, 30, 32));
}
