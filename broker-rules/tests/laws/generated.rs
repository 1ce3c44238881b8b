//! Expressions, statements and events.

use broker_rules::functions;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value as Json, json};

use crate::world::Event;

/// Text of an expression that may stand anywhere.
pub fn expression() -> impl Strategy<Value = String> + Clone {
    leaf().prop_recursive(3, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), select(OPERATORS), inner.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            inner.clone().prop_map(|a| format!("(- {a})")),
            inner.clone().prop_map(|a| format!("(NOT {a})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("CASE WHEN {a} THEN {b} ELSE {c} END")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| format!("CASE {a} WHEN {b} THEN 1 END")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} IN ({b}, {c}))")),
            call(inner),
        ]
    })
}

fn leaf() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        select(COLUMNS).prop_map(str::to_owned),
        literal().prop_map(|(text, _)| text),
        (-3_i64..9, -3_i64..9).prop_map(|(a, b)| format!("[{a}..{b}]")),
    ]
}

/// A call of any function, with as many arguments as it takes.
fn call(inner: impl Strategy<Value = String> + Clone) -> impl Strategy<Value = String> {
    // What is stored by one call is found by the next, which then gives another value than the one before.
    let functions: Vec<_> =
        functions::all().iter().filter(|function| function.name != "kv_store_put").collect();
    (select(functions), vec(inner, 0..6), any::<prop::sample::Index>()).prop_map(
        |(function, mut arguments, len)| {
            let (least, most) = (*function.arity.start(), (*function.arity.end()).min(6));
            arguments.resize(least + len.index(most.max(least) - least + 1), "'a'".to_owned());
            format!("{}({})", function.name, arguments.join(", "))
        },
    )
}

/// Text of a condition that is a boolean or fails.
pub fn condition() -> impl Strategy<Value = String> + Clone {
    let comparison = (leaf(), select(COMPARISONS), leaf())
        .prop_map(|(a, comparison, b)| format!("{a} {comparison} {b}"));
    let leaf = prop_oneof![
        4 => comparison,
        1 => leaf().prop_map(|a| format!("is_null({a})")),
        1 => select(&["true", "false", "yes"][..]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) OR ({b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

/// Text of a statement.
pub fn statement() -> impl Strategy<Value = String> {
    let target = select(
        &["", " AS a", " AS a.b", " AS c[0]", " AS c[-0]", " AS c[2].k", " AS payload.x"][..],
    );
    let field = prop_oneof![
        1 => Just("*".to_owned()),
        6 => (expression(), target).prop_map(|(expression, target)| format!("{expression}{target}")),
    ];
    let fields = vec(field, 1..5).prop_map(|fields| fields.join(", "));
    let array = prop_oneof![select(COLUMNS).prop_map(str::to_owned), expression()];
    let body = prop_oneof![
        fields.clone().prop_map(|fields| format!("SELECT {fields}")),
        (array.clone(), fields)
            .prop_map(|(array, fields)| format!("FOREACH {array} AS e DO {fields}")),
        (array, expression()).prop_map(|(array, c)| format!("FOREACH {array} AS e INCASE {c}")),
    ];
    let conditions = prop::option::of(prop_oneof![condition(), expression()]);
    (body, conditions).prop_map(|(body, condition)| match condition {
        Some(condition) => format!("{body} FROM t WHERE {condition}"),
        None => format!("{body} FROM t"),
    })
}

/// An event with the columns that expressions name.
pub fn event() -> impl Strategy<Value = Event> {
    let payload = prop_oneof![
        4 => tree().prop_map(|x| Some(json!({ "x": x, "list": [1, 2.5, "a", null, [1]] }).to_string())),
        1 => select(&["", "no JSON", "[1, 2]", "{\"x\":"][..]).prop_map(|text| Some(text.to_owned())),
        1 => Just(None),
    ];
    (tree(), tree(), any::<i64>(), payload).prop_map(|(a, b, int, payload)| {
        let columns = json!({
            "topic": "t/1", "zero": 0, "yes": true, "nil": null, "qos": 1, "int": int, "float": -2.5, "text": "abc",
            "digits": "12", "list": [3, 1.0, "a", null, {"k": 1}], "map": {"k": [1, 2], "j": "{\"k\": 5}"}, "a1": a,
            "b1": b,
        });
        Event::new(columns.to_string(), payload)
    })
}

/// Any JSON.
fn tree() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        (-5.0..5.0).prop_map(Json::from),
        "[ -~]{0,6}".prop_map(Json::from),
        any::<String>().prop_map(|text| Json::from(text.chars().take(4).collect::<String>())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            vec(("[a-ckx]{1,2}", inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

/// A constant as it is written, and as JSON.
fn literal() -> impl Strategy<Value = (String, Json)> + Clone {
    prop_oneof![
        prop_oneof![
            any::<i64>(),
            -9_i64..99,
            select(&[i64::MIN, i64::MAX, 1 << 53, (1 << 53) + 1][..])
        ]
        .prop_map(|int| (int.to_string(), int.into())),
        prop_oneof![
            any::<f64>().prop_filter("finite", |float| float.is_finite()),
            select(&[0.0, -0.0, 1.0, -1.5, 9.3e18, f64::MAX, f64::MIN_POSITIVE][..])
        ]
        .prop_map(|float| (format!("{float:?}"), float.into())),
        select(TEXTS).prop_map(|text| (format!("'{text}'"), text.into())),
        any::<bool>().prop_map(|is| (is.to_string(), is.into())),
    ]
}

/// An expression of constants, and the same with a column in place of each.
#[derive(Debug, Clone)]
pub struct Constants {
    pub literal: String,
    pub by_columns: String,
    /// Those columns, as an object.
    pub columns: String,
}

pub fn constants() -> impl Strategy<Value = Constants> {
    (shape(), vec(literal(), 16)).prop_map(|(shape, literals)| {
        let (mut literal, mut by_columns) = (shape.clone(), shape);
        let mut columns = serde_json::Map::new();
        for (text, value) in literals {
            let column = format!("k{}", columns.len());
            literal = literal.replacen('?', &text, 1);
            by_columns = by_columns.replacen('?', &column, 1);
            columns.insert(column, value);
        }
        Constants { literal, by_columns, columns: Json::from(columns).to_string() }
    })
}

/// An expression with a question mark for each of at most 16 constants.
fn shape() -> impl Strategy<Value = String> {
    Just("?".to_owned()).prop_recursive(3, 12, 3, |inner| {
        let pure: Vec<_> = functions::all()
            .iter()
            .filter(|function| matches!(function.reads, functions::Reads::Arguments))
            .collect();
        let call = (select(pure), vec(inner.clone(), 3), any::<prop::sample::Index>()).prop_map(
            |(function, mut arguments, len)| {
                let (least, most) = (*function.arity.start(), (*function.arity.end()).min(3));
                arguments.truncate(least.min(3) + len.index(most.max(least) - least + 1));
                arguments.resize(arguments.len().max(least), "'a'".to_owned());
                format!("{}({})", function.name, arguments.join(", "))
            },
        );
        prop_oneof![
            4 => (inner.clone(), select(OPERATORS), inner.clone())
                .prop_map(|(a, operator, b)| format!("({a} {operator} {b})")),
            1 => inner.clone().prop_map(|a| format!("(- {a})")),
            1 => inner.clone().prop_map(|a| format!("(NOT {a})")),
            1 => vec(inner.clone(), 1..3).prop_map(|items| format!("[{}]", items.join(", "))),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("CASE WHEN {a} THEN {b} ELSE {c} END")),
            1 => (inner.clone(), inner.clone(), inner)
                .prop_map(|(a, b, c)| format!("({a} NOT IN ({b}, {c}))")),
            3 => call,
        ]
    })
}

const COMPARISONS: &[&str] = &["=", "<>", "!=", "<", "<=", ">", ">="];

const OPERATORS: &[&str] =
    &["+", "-", "*", "/", "DIV", "MOD", "=", "<>", "<", "<=", ">", ">=", "=~", "AND", "OR"];

const COLUMNS: &[&str] = &[
    "topic",
    "zero",
    "yes",
    "nil",
    "qos",
    "int",
    "float",
    "text",
    "digits",
    "list",
    "map",
    "a1",
    "b1",
    "nothing",
    "payload",
    "payload.x",
    "payload.x.a[1]",
    "payload.list",
    "payload.list[qos]",
    "map.k[-1]",
    "map.j.k",
    "list[5].k",
    "list[2..9]",
    "payload.list[-2..-1]",
    "a1.a",
    "b1[1]",
    "a1[zero]",
    "e",
    "\"topic\"",
];

const TEXTS: &[&str] = &[
    "",
    "a",
    "abc",
    "12",
    "-1.5",
    "true",
    "null",
    "{}",
    "[1,2]",
    "{\"a\":{\"b\":1}}",
    "a.b",
    "second",
    "both",
    "+08:00",
    "~s~p",
    "%Y-%m-%d",
    "notrim",
    "(a+)+",
    "t/+/#",
    "t/1",
    "YWJj",
    "2020-09-13T12:26:40Z",
    "你好",
];
