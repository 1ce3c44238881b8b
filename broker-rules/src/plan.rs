//! The plan of a statement: names resolved, functions found, constants folded. Nothing is looked up by name later but columns.

mod fold;
mod resolve;

use std::sync::Arc;

pub(crate) use resolve::plan;

use crate::functions::Function;
use crate::sql::ast::{Comparison, Operator, Range};
use crate::value::Value;

/// A statement, ready to be evaluated.
pub(crate) struct Plan {
    /// The items of FROM.
    pub(crate) sources: Vec<String>,
    pub(crate) body: Body,
    /// WHERE.
    pub(crate) condition: Option<Node>,
    /// WHERE reads nothing that the fields make, so it can be asked before they are made.
    pub(crate) is_condition_first: bool,
    /// Columns that are read by a bare name, each once.
    pub(crate) columns: Vec<String>,
}

pub(crate) enum Body {
    Select(Vec<Field>),
    Foreach(Box<Foreach>),
}

pub(crate) struct Foreach {
    /// The fields before the array.
    pub(crate) before: Vec<Field>,
    pub(crate) array: Node,
    /// The array is `payload`, which is to be decoded.
    pub(crate) is_payload: bool,
    /// Where an element is to be found.
    pub(crate) element: Target,
    /// DO.
    pub(crate) each: Option<Vec<Field>>,
    /// INCASE.
    pub(crate) condition: Option<Node>,
}

pub(crate) enum Field {
    /// `*`.
    All,
    Value {
        node: Node,
        target: Target,
    },
}

/// Where a value goes.
pub(crate) struct Target {
    pub(crate) name: Arc<str>,
    pub(crate) steps: Box<[Way]>,
    /// What is written is read later in the statement.
    pub(crate) is_read: bool,
}

/// A column, or what a field before has made under that name.
pub(crate) struct Name {
    pub(crate) key: Arc<str>,
    /// A field before may have made it.
    pub(crate) is_alias: bool,
}

pub(crate) struct PathNode {
    pub(crate) root: Name,
    pub(crate) steps: Box<[Way]>,
}

/// A step of a path.
pub(crate) enum Way {
    Key(Arc<str>),
    /// From 1, or from -1 backwards. 0 is in front of the first.
    Index(i64),
    /// Behind the last.
    Append,
    IndexBy(PathNode),
}

/// An expression.
pub(crate) enum Node {
    Constant(Value),
    Path(Box<PathNode>),
    /// `"…"` beside a comparison: the column if the event has it, else the text.
    NameOrText(Box<(Name, Value)>),
    RangeGet(Box<(PathNode, Range)>),
    Range(Range),
    List(Box<[Self]>),
    Call(&'static Function, Box<[Self]>),
    /// CASE without an operand.
    Case(Box<Case>),
    /// CASE with one.
    Switch(Box<(Self, Case)>),
    Or(Box<[Self]>),
    And(Box<[Self]>),
    Not(Box<Self>),
    Compare(Comparison, Box<(Self, Self)>),
    In(Box<In>),
    Arithmetic(Box<(Self, Box<[(Operator, Self)]>)>),
    /// A plus, which only demands a number.
    Plus(Box<Self>),
    Minus(Box<Self>),
}

pub(crate) struct Case {
    pub(crate) branches: Box<[(Node, Node)]>,
    pub(crate) otherwise: Option<Node>,
}

pub(crate) struct In {
    pub(crate) value: Node,
    pub(crate) is_negated: bool,
    pub(crate) items: Box<[Node]>,
}
