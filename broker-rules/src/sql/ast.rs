//! The tree of a statement.
//!
//! Operators of one precedence in a row are one node with a vector, so that a long chain is no deep tree.

/// Bytes of the statement before a node. Any two are equal: where a node stands does not make it another.
#[derive(Debug, Clone, Copy, Default, Eq)]
pub struct Position(pub usize);

impl PartialEq for Position {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What is selected.
    pub body: Body,
    /// The items of FROM, at least one.
    pub sources: Vec<Source>,
    /// WHERE.
    pub condition: Option<Expr>,
}

/// What is selected.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// SELECT: one row.
    Select(Vec<Field>),
    /// FOREACH: a row for each element.
    Foreach {
        /// The last of them is the array.
        fields: Vec<Field>,
        /// DO: what is made of an element.
        each: Option<Vec<Field>>,
        /// INCASE: which elements count.
        condition: Option<Expr>,
    },
}

/// An item of FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// A topic filter or the name of an event.
    pub text: String,
    /// Where it begins.
    pub at: Position,
}

/// A field.
#[derive(Debug, Clone, PartialEq)]
pub enum Field {
    /// `*`.
    All(Position),
    /// An expression and where its value goes.
    Value {
        /// The expression.
        expr: Expr,
        /// Behind the last byte of the expression: with its own position, the text that is the key if no other is given.
        end: Position,
        /// AS.
        target: Option<Path>,
    },
}

/// An expression with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Where it begins.
    pub at: Position,
    /// What it is.
    pub kind: ExprKind,
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// An integer. A minus directly before a number is part of it.
    Integer(i64),
    /// A finite number with a fraction or an exponent.
    Float(f64),
    /// `'…'`.
    String(String),
    /// TRUE, FALSE.
    Bool(bool),
    /// `a.b[1]`.
    Path(Box<Path>),
    /// `a.b[1..3]`.
    RangeGet(Box<Path>, Range),
    /// `[1..3]`.
    Range(Range),
    /// `[a, b]`.
    List(Vec<Expr>),
    /// `f(a, b)`.
    Call {
        /// The function as it is written.
        name: String,
        /// Its arguments.
        arguments: Vec<Expr>,
    },
    /// CASE.
    Case {
        /// What the branches are compared with.
        operand: Option<Box<Expr>>,
        /// WHEN and THEN, at least one.
        branches: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
    },
    /// Two or more.
    Or(Vec<Expr>),
    /// Two or more.
    And(Vec<Expr>),
    /// NOT.
    Not(Box<Expr>),
    /// A comparison.
    Compare(Comparison, Box<Expr>, Box<Expr>),
    /// IN.
    In {
        /// What is looked for.
        value: Box<Expr>,
        /// NOT IN.
        is_negated: bool,
        /// Where it is looked for, at least one.
        items: Vec<Expr>,
    },
    /// From left to right, with operators of one precedence.
    Arithmetic(Box<Expr>, Vec<Term>),
    /// A sign.
    Sign(Sign, Box<Expr>),
}

/// An operator with what is on its right.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Where the operator stands.
    pub at: Position,
    /// The operator.
    pub operator: Operator,
    /// What is on its right.
    pub operand: Expr,
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// DIV
    Div,
    /// MOD
    Mod,
}

/// A sign before an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// `+`
    Plus,
    /// `-`
    Minus,
}

/// An operator that compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<>`, `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `=~`: a topic and a topic filter.
    Matches,
}

/// A column and the way into it, or where a value goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Where it begins.
    pub at: Position,
    /// The column.
    pub name: String,
    /// Written as `"…"`: in a comparison perhaps a text.
    pub is_quoted: bool,
    /// The way.
    pub steps: Vec<Step>,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.key`
    Key(String),
    /// `[1]`, `[-1]`, `[0]`
    Index(i64),
    /// `[-0]`: behind the last element.
    Append,
    /// `[i]`
    IndexBy(Path),
}

/// Integers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Where its first bound begins.
    pub at: Position,
    /// The first.
    pub first: i64,
    /// The last.
    pub last: i64,
}
