//! Statements over rows, clause by clause. The language as a whole is in the table of cases.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::*;
use crate::value::json::{append_map, decode};

/// Columns with a payload; it counts how often that is decoded.
struct Columns {
    all: Map,
    payload: Option<Value>,
    decoded: AtomicU64,
}

impl Columns {
    fn new(columns: &str) -> Self {
        let Some(Value::Map(all)) = read(columns) else { panic!("an object: {columns}") };
        let payload = match all.get("payload") {
            Some(Value::Str(text)) => decode(text, &Limits::default()),
            _ => None,
        };
        Self { all: (*all).clone(), payload, decoded: AtomicU64::new(0) }
    }
}

impl Row for Columns {
    fn column(&self, name: &str) -> Value {
        self.all.get(name).cloned().unwrap_or_default()
    }

    fn decoded_payload(&self) -> Option<&Value> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        self.payload.as_ref()
    }

    fn all(&self) -> Map {
        self.all.clone()
    }
}

fn read(text: &str) -> Option<Value> {
    decode(&Bytes::copy_from_slice(text.as_bytes()), &Limits::default())
}

fn compiled(sql: &str, limits: Limits) -> Result<Box<dyn Select>, String> {
    compiler(Arc::new(limits), Box::new(|bytes| bytes.fill(7)))(sql)
}

fn within(limits: Limits, sql: &str, columns: &str) -> String {
    let statement = compiled(sql, limits).unwrap_or_else(|error| panic!("{sql}: {error}"));
    match statement.apply(&Columns::new(columns), 1) {
        Ok(Selected::Nothing) => "nothing".to_owned(),
        Ok(Selected::Row(row)) => shown(&row),
        Ok(Selected::Rows(rows)) => rows.iter().map(shown).collect::<Vec<_>>().join(" "),
        Err(error) => format!("error: {error}"),
    }
}

/// What a statement makes of columns, as text.
pub(crate) fn run(sql: &str, columns: &str) -> String {
    within(Limits::default(), sql, columns)
}

fn shown(map: &Map) -> String {
    let mut out = Vec::new();
    append_map(map, &mut out, usize::MAX).expect("no limit");
    String::from_utf8(out).expect("UTF-8")
}

const MESSAGE: &str = r#"{"topic":"t/1","qos":1,"clientid":"c","payload":"{\"x\":2,\"a\":[1,2,3],\"i\":2,\"in\":\"{\\\"y\\\":5}\"}"}"#;

#[test]
fn fields_go_under_their_names_and_what_is_undefined_nowhere() {
    let sql = "SELECT payload.x AS x, qos, nothing, payload.a[2], 1 + 1, 'text', payload.in.y AS deep.y FROM t";
    let expected = r#"{"1 + 1":2,"deep":{"y":5},"payload":{"a":[2]},"qos":1,"text":"text","x":2}"#;
    assert_eq!(run(sql, MESSAGE), expected);
}

#[test]
fn later_fields_and_where_see_what_fields_have_made() {
    assert_eq!(run("SELECT payload.x AS a, a + 1 AS b FROM t", MESSAGE), r#"{"a":2,"b":3}"#);
    assert_eq!(run("SELECT payload.x AS qos FROM t WHERE qos = 2", MESSAGE), r#"{"qos":2}"#);
    assert_eq!(run("SELECT payload.x AS qos FROM t WHERE qos = 1", MESSAGE), "nothing");
    let sql = "SELECT 9 AS payload.n, payload.n + payload.x AS sum FROM t";
    assert_eq!(run(sql, MESSAGE), r#"{"payload":{"n":9},"sum":11}"#);
}

#[test]
fn where_is_asked_first_if_it_can_be() {
    assert_eq!(run("SELECT 1 / 0 AS x FROM t WHERE qos = 2", MESSAGE), "nothing");
    let sql = "SELECT qos AS q, 1 / 0 AS x FROM t WHERE q = 2";
    assert_eq!(run(sql, MESSAGE), "error: SELECT, field 2: /: division by zero");
    assert_eq!(
        run("SELECT * FROM t WHERE qos", MESSAGE),
        "error: WHERE is not a boolean, but an integer"
    );
}

#[test]
fn all_columns_give_way_to_what_stands_before_and_after() {
    let columns = r#"{"a":1,"payload":"{\"x\":2}"}"#;
    assert_eq!(run("SELECT * FROM t", columns), r#"{"a":1,"payload":"{\"x\":2}"}"#);
    let with_n = r#"{"a":1,"payload":{"n":5,"x":2}}"#;
    assert_eq!(run("SELECT *, 5 AS payload.n FROM t", columns), with_n);
    assert_eq!(run("SELECT 5 AS payload.n, * FROM t", columns), with_n);
    assert_eq!(run("SELECT 7 AS a, * FROM t", columns), r#"{"a":7,"payload":"{\"x\":2}"}"#);
    assert_eq!(run("SELECT *, 7 AS a FROM t", columns), r#"{"a":7,"payload":"{\"x\":2}"}"#);
}

#[test]
fn the_payload_is_decoded_where_a_way_leads_into_it() {
    let statement = |sql| {
        let columns = Columns::new(MESSAGE);
        compiled(sql, Limits::default()).expect(sql).apply(&columns, 1).expect(sql);
        columns.decoded.into_inner()
    };
    assert_eq!(statement("SELECT payload, topic, qos FROM t WHERE topic =~ 't/#'"), 0);
    assert_eq!(statement("SELECT * FROM t"), 0);
    assert!(statement("SELECT payload.x FROM t") > 0);
}

#[test]
fn foreach_gives_a_row_for_each_element() {
    let sql = "FOREACH payload.a AS e DO e * 10 AS v, clientid INCASE e > 1 FROM t";
    assert_eq!(run(sql, MESSAGE), r#"{"clientid":"c","v":20} {"clientid":"c","v":30}"#);
    let columns = r#"{"topic":"t","payload":"[1,{\"k\":2}]"}"#;
    assert_eq!(
        run("FOREACH payload FROM t", columns),
        r#"{"item":1,"payload":"[1,{\"k\":2}]","topic":"t"} {"item":{"k":2},"payload":"[1,{\"k\":2}]","topic":"t"}"#
    );
    let sql = "FOREACH topic AS up, payload AS e DO up, e.k AS k FROM t WHERE up = 't'";
    assert_eq!(run(sql, columns), r#"{"up":"t"} {"k":2,"up":"t"}"#);
    assert_eq!(run("FOREACH payload.none DO 1 AS x FROM t", columns), "");
    assert_eq!(run("FOREACH payload DO 1 / item AS x FROM t WHERE 1 = 2", columns), "nothing");
    assert_eq!(
        run("FOREACH payload DO 1 / item AS x FROM t", columns),
        "error: DO, field 1: /: expected two numbers, found an integer and a map"
    );
}

#[test]
fn what_an_element_has_made_is_gone_at_the_next() {
    let sql =
        "FOREACH payload.a AS e DO case when e = 1 then 'first' end AS one, one AS seen FROM t";
    assert_eq!(run(sql, MESSAGE), r#"{"one":"first","seen":"first"} {} {}"#);
}

#[test]
fn a_statement_that_cannot_work_is_refused_with_its_place() {
    let refused = |sql| compiled(sql, Limits::default()).err().expect(sql);
    assert_eq!(
        refused("SELECT\n  nofun(1) FROM t"),
        "line 2, column 3: there is no function `nofun`"
    );
    assert_eq!(
        refused("SELECT lower() FROM t"),
        "line 1, column 8: `lower` takes 1 argument, found 0"
    );
    assert_eq!(
        refused("SELECT regex_match(topic, '(') FROM t"),
        "line 1, column 8: regex_match: argument 2: not a regular expression: unclosed group"
    );
    assert!(
        refused("SELECT * FROM t WHERE topic =~ 'a/#/b'").starts_with("line 1, column 32: not a")
    );
    assert_eq!(
        refused("FOREACH * FROM t"),
        "line 1, column 9: the last field of FOREACH is an array, not `*`"
    );
}

#[test]
fn each_bound_is_a_row_error() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    };
    let of_three = r#"{"payload":"[1,2,3]","s":"0123456789"}"#;
    let bounded = |change: fn(&mut Limits), sql: &str| within(limits(change), sql, of_three);
    assert_eq!(
        bounded(|l| l.max_foreach_items = 2, "FOREACH payload FROM t"),
        "error: FOREACH: the array has more than max_foreach_items elements"
    );
    assert_eq!(
        bounded(|l| l.max_output_bytes = 15, "SELECT s FROM t"),
        "error: the output has more than max_output_bytes as JSON"
    );
    assert_eq!(bounded(|l| l.max_output_bytes = 18, "SELECT s FROM t"), r#"{"s":"0123456789"}"#);
    let rows = "FOREACH payload DO s FROM t";
    assert!(bounded(|l| l.max_output_bytes = 53, rows).starts_with("error: the output"));
    assert!(bounded(|l| l.max_output_bytes = 54, rows).starts_with("{"));
    assert!(bounded(|l| l.max_steps = 6, rows).contains("max_steps"));
    assert_eq!(
        bounded(|l| l.max_array_items = 3, "SELECT [1,2,3] AS x, 4 AS x[-0] FROM t"),
        "error: SELECT, field 2: AS: the array has more than max_array_items items"
    );
    assert_eq!(
        bounded(|l| l.max_array_items = 3, "SELECT [1..4] AS x FROM t"),
        "error: SELECT, field 1: [1..4] has more than max_array_items items"
    );
    assert!(
        bounded(|l| l.json_max_depth = 3, "SELECT [[[[1]]]] AS x FROM t")
            .contains("json_max_depth")
    );
    assert!(
        bounded(|l| l.json_max_depth = 3, "SELECT [[1]] AS x.y FROM t")
            .contains(r#"{"x":{"y":[[1]]}}"#)
    );
    assert!(
        bounded(|l| l.json_max_depth = 3, "SELECT [[1]] AS x.y.z FROM t")
            .contains("json_max_depth")
    );
}

/// `a` in `b` in `c`, twice each: a value that has no end as JSON, and comparing two of it neither.
#[test]
fn what_doubles_itself_ends_at_the_steps() {
    let doubled: String = (1..100).map(|n| format!(", [a{}, a{}] AS a{n}", n - 1, n - 1)).collect();
    let sql = format!("SELECT 1 AS a0{doubled} FROM t");
    assert!(run(&sql, MESSAGE).contains("max_steps"), "{}", run(&sql, MESSAGE));
}

#[test]
fn deep_statements_stay_within_the_stack() {
    let limits = Limits { max_depth: 256, ..Limits::default() };
    let nested = |open: &str, inner: &str, close: &str, n: usize| {
        format!("SELECT {}{inner}{} AS x FROM t", open.repeat(n), close.repeat(n))
    };
    for sql in [
        nested("(qos + ", "qos", ")", 255),
        nested("NOT ", "payload.x = 1", "", 255),
        nested("coalesce(nothing, ", "qos", ")", 255),
        nested("CASE WHEN qos = 2 THEN 1 ELSE ", "qos", " END", 255),
        nested("CASE qos WHEN 2 THEN 1 ELSE ", "qos", " END", 255),
        nested("(qos IN (", "qos", "))", 127),
        nested("(true AND ", "qos = 1", ")", 255),
    ] {
        let given = within(limits.clone(), &sql, MESSAGE);
        assert!(given.starts_with(r#"{"x":"#), "{given}: {sql}");
    }
    let flat = vec!["qos = 1"; 5000].join(" AND ");
    assert_eq!(run(&format!("SELECT qos FROM t WHERE {flat}"), MESSAGE), r#"{"qos":1}"#);
}

#[test]
fn constants_are_folded_unless_they_are_large_or_fail() {
    let folded = |sql: &str| {
        let tree = sql::parse(sql, &Limits::default()).expect(sql);
        let plan = plan(sql, &tree, &Limits::default()).expect(sql);
        let Body::Select(fields) = plan.body else { panic!("a SELECT") };
        matches!(&fields[0], Field::Value { node: crate::plan::Node::Constant(_), .. })
    };
    for sql in ["1 + 2 * 3", "lower('A') = 'a'", "[1..3]", "CASE WHEN 1 > 0 THEN upper('x') END"] {
        assert!(folded(&format!("SELECT {sql} FROM t")), "{sql}");
    }
    for sql in ["1 / 0", "qos + 1", "now_timestamp()", "pad('a', 100000)", "[1..9999]", "qos()"] {
        assert!(!folded(&format!("SELECT {sql} FROM t")), "{sql}");
    }
    assert_eq!(run("SELECT qos FROM t WHERE qos = 1 OR 1 / 0 = 1", MESSAGE), r#"{"qos":1}"#);
}

#[test]
fn columns_are_those_that_no_field_has_made() {
    let columns = |sql| compiled(sql, Limits::default()).expect(sql).columns().join(" ");
    assert_eq!(columns("SELECT a AS b, b + c[d] AS e FROM t WHERE e = f AND \"g\" = 1"), "a c d f");
}
