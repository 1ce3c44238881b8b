//! Constants: what does not depend on the event is evaluated once.

use crate::eval::{Scope, eval};
use crate::functions::{Env, KvStore, Patterns, Reads};
use crate::limits::Limits;
use crate::plan::{Case, Node};
use crate::row::Row;
use crate::value::{Map, Value, json};

/// Bytes of a constant as JSON. What is larger is made anew for each event: thousands of them fit into a statement.
const MAX_BYTES: usize = 1024;

/// Evaluates constants of one statement, all of them within the steps of one event.
pub(super) struct Folding<'a> {
    store: KvStore,
    patterns: Patterns,
    limits: &'a Limits,
    steps_left: u64,
}

/// No event.
struct Nowhere;

impl<'a> Folding<'a> {
    pub(super) fn new(limits: &'a Limits) -> Self {
        let (store, patterns) = (KvStore::default(), Patterns::default());
        Self { store, patterns, limits, steps_left: limits.max_steps }
    }

    /// The node, or the constant that it always is. What fails stays as it is: perhaps it is never evaluated.
    pub(super) fn fold(&mut self, node: Node) -> Node {
        if self.steps_left == 0 || !is_constant(&node) {
            return node;
        }
        let random = |_: &mut [u8]| {};
        let env = Env::new(self.limits, 0, &random, &self.store, &self.patterns);
        let value = eval(&node, &Scope::new(&Nowhere, &env)).map(|value| value.into_owned());
        let used = self.limits.max_steps.saturating_sub(env.steps_left());
        self.steps_left = self.steps_left.saturating_sub(used);
        match value {
            Ok(value) if json::encode(&value, MAX_BYTES).is_ok() => Node::Constant(value),
            _ => node,
        }
    }
}

/// Whether it has only constants in it. Those below it have been folded before.
fn is_constant(node: &Node) -> bool {
    let all = |nodes: &[Node]| nodes.iter().all(|node| node.as_constant().is_some());
    let one = |node: &Node| node.as_constant().is_some();
    match node {
        Node::Range(range) => range.last.abs_diff(range.first) < MAX_BYTES as u64 / 2,
        Node::List(items) => all(items),
        Node::Call(function, arguments) => function.reads == Reads::Arguments && all(arguments),
        Node::Case(case) => is_constant_case(case),
        Node::Switch(switch) => one(&switch.0) && is_constant_case(&switch.1),
        Node::Or(terms) | Node::And(terms) => all(terms),
        Node::Not(operand) | Node::Plus(operand) | Node::Minus(operand) => one(operand),
        Node::Compare(_, operands) => one(&operands.0) && one(&operands.1),
        Node::In(contained) => one(&contained.value) && all(&contained.items),
        Node::Arithmetic(arithmetic) => {
            one(&arithmetic.0) && arithmetic.1.iter().all(|(_, operand)| one(operand))
        }
        Node::Constant(_) | Node::Path(_) | Node::NameOrText(_) | Node::RangeGet(_) => false,
    }
}

fn is_constant_case(case: &Case) -> bool {
    let one = |node: &Node| node.as_constant().is_some();
    case.branches.iter().all(|(when, then)| one(when) && one(then))
        && case.otherwise.as_ref().is_none_or(one)
}

impl Node {
    pub(super) const fn as_constant(&self) -> Option<&Value> {
        match self {
            Self::Constant(value) => Some(value),
            _ => None,
        }
    }
}

impl Row for Nowhere {
    fn column(&self, _: &str) -> Value {
        Value::Undefined
    }

    fn decoded_payload(&self) -> Option<&Value> {
        None
    }

    fn all(&self) -> Map {
        Map::default()
    }
}
