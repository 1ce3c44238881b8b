//! Trees that are made up, and texts that are not statements.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::limits::Limits;
use crate::sql::ast::{
    Body, Comparison, Expr, ExprKind, Field, Operator, Path, Position, Range, Sign, Source,
    Statement, Step, Term,
};
use crate::sql::parse;

proptest! {
    #[test]
    fn a_tree_reads_as_itself(statement in statement()) {
        let text = statement.to_string();
        prop_assert_eq!(parse(&text, &Limits::default()), Ok(statement), "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = parse(&text, &Limits::default());
    }

    #[test]
    fn any_words_are_read_or_refused(words in vec(select(WORDS), 0..40)) {
        let text = words.concat();
        if let Ok(statement) = parse(&text, &Limits::default()) {
            let printed = statement.to_string();
            prop_assert_eq!(parse(&printed, &Limits::default()), Ok(statement), "{}", printed);
        }
    }
}

const WORDS: &[&str] = &[
    "SELECT ", "FOREACH ", " DO ", " INCASE ", " FROM ", " WHERE ", " AS ", "CASE ", " WHEN ",
    " THEN ", " ELSE ", " END", " AND ", " OR ", "NOT ", " IN ", " DIV ", " MOD ", "a", "\"b c\"",
    "'s'", "''", "\"", "1", "-", "+", "*", "/", "2.5", "1e3", ".", "..", "[", "]", "(", ")", ",",
    ";", "=", "<>", "=~", "<", "\n", "--", "é", "true",
];

fn statement() -> impl Strategy<Value = Statement> {
    let foreach = (fields(), prop::option::of(fields()), prop::option::of(expr()))
        .prop_map(|(fields, each, condition)| Body::Foreach { fields, each, condition });
    let body = prop_oneof![fields().prop_map(Body::Select), foreach];
    let source = text().prop_map(|text| Source { text, at: Position(0) });
    (body, vec(source, 1..3), prop::option::of(expr()))
        .prop_map(|(body, sources, condition)| Statement { body, sources, condition })
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let value = (expr(), prop::option::of(path())).prop_map(|(expr, target)| Field::Value {
        expr,
        end: Position(0),
        target,
    });
    vec(prop_oneof![1 => Just(Field::All(Position(0))), 5 => value], 1..4)
}

/// Any text but U+0000, which no statement may hold.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        select(&["", "t/#", "'", "\"", "a b", "--", "select", "温度"][..]).prop_map(str::to_owned),
        any::<String>().prop_map(|text| text.replace('\0', "")),
    ]
}

fn path() -> impl Strategy<Value = Path> {
    let bare = select(&["a", "payload", "divide", "_x", "e3"][..]);
    let name =
        prop_oneof![bare.prop_map(|name| (name.to_owned(), false)), text().prop_map(|t| (t, true))];
    let index = any::<i64>().prop_map(Step::Index);
    let key = prop_oneof![text(), select(&["end", "1", "b"][..]).prop_map(str::to_owned)];
    let by = select(&["i", "j"][..]).prop_map(|name| {
        let (at, name) = (Position(0), name.to_owned());
        Step::IndexBy(Path { at, name, is_quoted: false, steps: Vec::new() })
    });
    let step = prop_oneof![key.prop_map(Step::Key), index, Just(Step::Append), by];
    (name, vec(step, 0..4)).prop_map(|((name, is_quoted), steps)| Path {
        at: Position(0),
        name,
        is_quoted,
        steps,
    })
}

fn range() -> impl Strategy<Value = Range> {
    any::<(i64, i64)>().prop_map(|(first, last)| Range { at: Position(0), first, last })
}

fn expr() -> impl Strategy<Value = Expr> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(ExprKind::Integer),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(ExprKind::Float),
        text().prop_map(ExprKind::String),
        any::<bool>().prop_map(ExprKind::Bool),
        path().prop_map(|path| ExprKind::Path(Box::new(path))),
        (path(), range()).prop_map(|(path, range)| ExprKind::RangeGet(Box::new(path), range)),
        range().prop_map(ExprKind::Range),
    ];
    leaf.prop_map(placed).prop_recursive(4, 24, 3, |inner| inside(inner).prop_map(placed))
}

fn inside(inner: impl Strategy<Value = Expr> + Clone + 'static) -> BoxedStrategy<ExprKind> {
    let boxed = inner.clone().prop_map(Box::new);
    let call = (select(&["f", "mod", "DIV"][..]), vec(inner.clone(), 0..3))
        .prop_map(|(name, arguments)| ExprKind::Call { name: name.to_owned(), arguments });
    let case = (
        prop::option::of(boxed.clone()),
        vec((inner.clone(), inner.clone()), 1..3),
        prop::option::of(boxed.clone()),
    )
        .prop_map(|(operand, branches, otherwise)| ExprKind::Case {
            operand,
            branches,
            otherwise,
        });
    let compare = (select(COMPARISONS), boxed.clone(), boxed.clone())
        .prop_map(|(comparison, left, right)| ExprKind::Compare(comparison, left, right));
    let within = (boxed.clone(), any::<bool>(), vec(inner.clone(), 1..3))
        .prop_map(|(value, is_negated, items)| ExprKind::In { value, is_negated, items });
    let chain = |operators: &'static [Operator]| {
        let term = (select(operators), inner.clone()).prop_map(|(operator, operand)| Term {
            at: Position(0),
            operator,
            operand,
        });
        (boxed.clone(), vec(term, 1..3)).prop_map(|(first, rest)| ExprKind::Arithmetic(first, rest))
    };
    prop_oneof![
        vec(inner.clone(), 0..3).prop_map(ExprKind::List),
        call,
        case,
        vec(inner.clone(), 2..4).prop_map(ExprKind::Or),
        vec(inner.clone(), 2..4).prop_map(ExprKind::And),
        boxed.clone().prop_map(ExprKind::Not),
        compare,
        within,
        chain(&[Operator::Add, Operator::Subtract]),
        chain(&[Operator::Multiply, Operator::Divide, Operator::Div, Operator::Mod]),
        (select(&[Sign::Plus, Sign::Minus][..]), boxed)
            .prop_map(|(sign, operand)| ExprKind::Sign(sign, operand)),
    ]
    .boxed()
}

const COMPARISONS: &[Comparison] = &[
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
    Comparison::Matches,
];

fn placed(kind: ExprKind) -> Expr {
    Expr { at: Position(0), kind }
}
