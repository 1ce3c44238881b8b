//! From the tree of a statement to its plan.

use std::collections::{BTreeSet, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use broker_codec::topic;

use super::fold::Folding;
use super::{Body, Case, Field, Foreach, In, Name, Node, PathNode, Plan, Target, Way};
use crate::functions;
use crate::limits::Limits;
use crate::sql::ast::{Comparison, Expr, ExprKind, Path, Position, Sign, Step};
use crate::sql::{Place, SqlError, ast};
use crate::value::Value;

/// The name of an element of FOREACH that has no other.
const ELEMENT: &str = "item";

/// The error is boxed to keep the frames of deep nesting small.
type Planned<T> = Result<T, Box<SqlError>>;

/// Makes the plan of a statement; `text` is what it was read from.
pub(crate) fn plan(
    text: &str,
    statement: &ast::Statement,
    limits: &Limits,
) -> Result<Plan, SqlError> {
    let mut resolver = Resolver {
        text,
        limits,
        folding: Folding::new(limits),
        aliases: HashSet::new(),
        alias_reads: HashSet::new(),
        columns: BTreeSet::new(),
    };
    resolver.statement(statement).map_err(|error| *error)
}

struct Resolver<'a> {
    text: &'a str,
    limits: &'a Limits,
    folding: Folding<'a>,
    /// What fields have made up to here.
    aliases: HashSet<Arc<str>>,
    /// Those of them that are read.
    alias_reads: HashSet<Arc<str>>,
    /// What else is read.
    columns: BTreeSet<String>,
}

impl Resolver<'_> {
    fn statement(&mut self, statement: &ast::Statement) -> Planned<Plan> {
        let mut body = match &statement.body {
            ast::Body::Select(fields) => Body::Select(self.fields(fields)?),
            ast::Body::Foreach { fields, each, condition } => {
                let foreach = self.foreach(fields, each.as_deref(), condition.as_ref())?;
                Body::Foreach(Box::new(foreach))
            }
        };
        let reads_of_fields = std::mem::take(&mut self.alias_reads);
        let condition = match &statement.condition {
            Some(condition) => Some(self.node(condition)?),
            None => None,
        };
        let is_condition_first = self.alias_reads.is_empty();
        self.alias_reads.extend(reads_of_fields);
        mark_reads(&mut body, &self.alias_reads);
        Ok(Plan {
            sources: statement.sources.iter().map(|source| source.text.clone()).collect(),
            body,
            condition,
            is_condition_first,
            columns: std::mem::take(&mut self.columns).into_iter().collect(),
        })
    }

    fn fields(&mut self, fields: &[ast::Field]) -> Planned<Vec<Field>> {
        fields.iter().map(|field| self.field(field)).collect()
    }

    fn field(&mut self, field: &ast::Field) -> Planned<Field> {
        let ast::Field::Value { expr, end, target } = field else { return Ok(Field::All) };
        let node = self.node(expr)?;
        let target = match target {
            Some(target) => self.new_name(target)?,
            None => self.default_target(expr, *end)?,
        };
        Ok(Field::Value { node, target })
    }

    fn foreach(
        &mut self,
        fields: &[ast::Field],
        each: Option<&[ast::Field]>,
        condition: Option<&Expr>,
    ) -> Planned<Foreach> {
        let (last, before) = match fields.split_last() {
            Some((ast::Field::Value { expr, target, .. }, before)) => ((expr, target), before),
            Some((ast::Field::All(at), _)) => {
                return Err(self.refused(*at, "the last field of FOREACH is an array, not `*`"));
            }
            None => return Err(self.refused(Position(0), "expected an array behind FOREACH")),
        };
        let before = self.fields(before)?;
        let (expr, target) = last;
        // A field before it may have taken the name.
        let is_payload = matches!(
            &expr.kind,
            ExprKind::Path(path) if &*path.name == "payload" && path.steps.is_empty()
        ) && !self.aliases.contains("payload");
        let array = self.node(expr)?;
        let element = match target {
            Some(target) => self.new_name(target)?,
            None => self.alias(ELEMENT.into(), Box::default()),
        };
        // WHERE is asked before DO has made anything.
        let outside = self.aliases.clone();
        let condition = match condition {
            Some(condition) => Some(self.node(condition)?),
            None => None,
        };
        let each = match each {
            Some(each) => Some(self.fields(each)?),
            None => None,
        };
        self.aliases = outside;
        Ok(Foreach { before, array, is_payload, element, each, condition })
    }

    /// A target that is a new name for what comes after it.
    fn new_name(&mut self, path: &Path) -> Planned<Target> {
        let target = self.target(path)?;
        self.aliases.insert(Arc::clone(&target.name));
        Ok(target)
    }

    fn alias(&mut self, name: Arc<str>, steps: Box<[Way]>) -> Target {
        self.aliases.insert(Arc::clone(&name));
        Target { name, steps, is_read: false }
    }

    fn target(&mut self, path: &Path) -> Planned<Target> {
        if path.steps.len() >= self.limits.json_max_depth {
            return Err(self.refused(path.at, "the path is deeper than json_max_depth"));
        }
        let steps = self.steps(&path.steps);
        Ok(Target { name: path.name.as_str().into(), steps, is_read: false })
    }

    /// Where a field without AS goes.
    fn default_target(&mut self, expr: &Expr, end: Position) -> Planned<Target> {
        match &expr.kind {
            // It is the same under this name before and after.
            ExprKind::Path(path) => self.target(path),
            ExprKind::RangeGet(path, _) => self.new_name(path),
            ExprKind::String(text) => Ok(self.alias(text.as_str().into(), Box::default())),
            _ => {
                let source = self.text.get(expr.at.0..end.0).unwrap_or_default();
                Ok(self.alias(source.trim().into(), Box::default()))
            }
        }
    }

    fn name(&mut self, name: &str) -> Name {
        match self.aliases.get(name) {
            Some(key) => {
                self.alias_reads.insert(Arc::clone(key));
                Name { key: Arc::clone(key), is_alias: true }
            }
            None => {
                self.columns.insert(name.to_owned());
                Name { key: name.into(), is_alias: false }
            }
        }
    }

    fn path(&mut self, path: &Path) -> PathNode {
        PathNode { root: self.name(&path.name), steps: self.steps(&path.steps) }
    }

    fn steps(&mut self, steps: &[Step]) -> Box<[Way]> {
        let way = |step: &Step| match step {
            Step::Key(key) => Way::Key(key.as_str().into()),
            Step::Index(index) => Way::Index(*index),
            Step::Append => Way::Append,
            Step::IndexBy(path) => Way::IndexBy(self.path(path)),
        };
        steps.iter().map(way).collect()
    }

    fn nodes(&mut self, exprs: &[Expr]) -> Planned<Box<[Node]>> {
        exprs.iter().map(|expr| self.node(expr)).collect()
    }

    // What nests is planned in a function of its own, which keeps the frames of deep nesting small.
    fn node(&mut self, expr: &Expr) -> Planned<Node> {
        let node = match &expr.kind {
            ExprKind::Integer(integer) => return Ok(Node::Constant(Value::Int(*integer))),
            ExprKind::Float(float) => return Ok(Node::Constant(Value::Float(*float))),
            ExprKind::String(text) => return Ok(Node::Constant(Value::text(text))),
            ExprKind::Bool(is) => return Ok(Node::Constant(Value::Bool(*is))),
            ExprKind::Path(path) => return Ok(Node::Path(Box::new(self.path(path)))),
            ExprKind::RangeGet(path, range) => {
                return Ok(Node::RangeGet(Box::new((self.path(path), *range))));
            }
            ExprKind::Range(range) => Node::Range(*range),
            ExprKind::List(items) => Node::List(self.nodes(items)?),
            ExprKind::Call { name, arguments } => self.call(expr.at, name, arguments)?,
            ExprKind::Case { operand, branches, otherwise } => {
                self.case(operand.as_deref(), branches, otherwise.as_deref())?
            }
            ExprKind::Or(terms) => Node::Or(self.nodes(terms)?),
            ExprKind::And(terms) => Node::And(self.nodes(terms)?),
            ExprKind::Not(operand) => Node::Not(Box::new(self.node(operand)?)),
            ExprKind::Compare(comparison, left, right) => {
                self.comparison(*comparison, left, right)?
            }
            ExprKind::In { value, is_negated, items } => {
                self.contained(value, *is_negated, items)?
            }
            ExprKind::Arithmetic(first, rest) => self.arithmetic(first, rest)?,
            ExprKind::Sign(Sign::Plus, operand) => Node::Plus(Box::new(self.node(operand)?)),
            ExprKind::Sign(Sign::Minus, operand) => Node::Minus(Box::new(self.node(operand)?)),
        };
        Ok(self.folding.fold(node))
    }

    fn call(&mut self, at: Position, name: &str, arguments: &[Expr]) -> Planned<Node> {
        let Some(function) = functions::find(name) else {
            return Err(self.refused(at, &format!("there is no function `{name}`")));
        };
        if !function.arity.contains(&arguments.len()) {
            let takes = takes(&function.arity);
            let cause = format!("`{}` takes {takes}, found {}", function.name, arguments.len());
            return Err(self.refused(at, &cause));
        }
        let arguments = self.nodes(arguments)?;
        let known: Vec<_> = arguments.iter().map(Node::as_constant).collect();
        match function.check(&known, self.limits) {
            Ok(()) => Ok(Node::Call(function, arguments)),
            Err(error) => Err(self.refused(at, &error.0)),
        }
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        branches: &[(Expr, Expr)],
        otherwise: Option<&Expr>,
    ) -> Planned<Node> {
        let operand = operand.map(|operand| self.node(operand)).transpose()?;
        let mut planned = Vec::with_capacity(branches.len());
        for (when, then) in branches {
            planned.push((self.node(when)?, self.node(then)?));
        }
        let otherwise = otherwise.map(|otherwise| self.node(otherwise)).transpose()?;
        let case = Case { branches: planned.into(), otherwise };
        Ok(match operand {
            Some(operand) => Node::Switch(Box::new((operand, case))),
            None => Node::Case(Box::new(case)),
        })
    }

    fn comparison(&mut self, comparison: Comparison, left: &Expr, right: &Expr) -> Planned<Node> {
        let (a, b) = (self.compared(left)?, self.compared(right)?);
        let filter = match &b {
            Node::Constant(Value::Str(filter)) => Some(filter),
            Node::NameOrText(named) if !named.0.is_alias => match &named.1 {
                Value::Str(filter) => Some(filter),
                _ => None,
            },
            _ => None,
        };
        if let (Comparison::Matches, Some(filter)) = (comparison, filter)
            && let Err(error) = topic::validate_filter(&String::from_utf8_lossy(filter))
        {
            return Err(self.refused(right.at, &format!("not a topic filter: {error}")));
        }
        Ok(Node::Compare(comparison, Box::new((a, b))))
    }

    fn contained(&mut self, value: &Expr, is_negated: bool, items: &[Expr]) -> Planned<Node> {
        let value = self.compared(value)?;
        let items = items.iter().map(|item| self.compared(item)).collect::<Planned<_>>()?;
        Ok(Node::In(Box::new(In { value, is_negated, items })))
    }

    /// An operand of a comparison.
    fn compared(&mut self, expr: &Expr) -> Planned<Node> {
        match &expr.kind {
            ExprKind::Path(path) if path.is_quoted && path.steps.is_empty() => {
                let text = Value::text(&path.name);
                let key: Arc<str> = path.name.as_str().into();
                let is_alias = self.aliases.contains(&key);
                if is_alias {
                    self.alias_reads.insert(Arc::clone(&key));
                }
                Ok(Node::NameOrText(Box::new((Name { key, is_alias }, text))))
            }
            _ => self.node(expr),
        }
    }

    fn arithmetic(&mut self, first: &Expr, rest: &[ast::Term]) -> Planned<Node> {
        let first = self.node(first)?;
        let mut terms = Vec::with_capacity(rest.len());
        for term in rest {
            terms.push((term.operator, self.node(&term.operand)?));
        }
        Ok(Node::Arithmetic(Box::new((first, terms.into()))))
    }

    #[cold]
    fn refused(&self, at: Position, cause: &str) -> Box<SqlError> {
        let place = Place::of(self.text, at.0);
        Box::new(SqlError::Syntax { place, cause: cause.to_owned() })
    }
}

/// Says of what is written whether it is read.
fn mark_reads(body: &mut Body, reads: &HashSet<Arc<str>>) {
    let mark = |target: &mut Target, has_all: bool| {
        // `*` has the column with what is written into it.
        target.is_read = reads.contains(&target.name) || has_all && !target.steps.is_empty();
    };
    let mark_fields = |fields: &mut [Field], has_all: bool| {
        let has_all = has_all || fields.iter().any(|field| matches!(field, Field::All));
        for field in fields {
            if let Field::Value { target, .. } = field {
                mark(target, has_all);
            }
        }
    };
    match body {
        Body::Select(fields) => mark_fields(fields, false),
        Body::Foreach(foreach) => {
            mark_fields(&mut foreach.before, true);
            if let Some(each) = &mut foreach.each {
                mark_fields(each, false);
            }
            foreach.element.is_read = true;
        }
    }
}

fn takes(arity: &RangeInclusive<usize>) -> String {
    let (least, most) = (*arity.start(), *arity.end());
    match (least, most) {
        (1, 1) => "1 argument".to_owned(),
        (least, most) if least == most => format!("{least} arguments"),
        (least, usize::MAX) => format!("{least} arguments or more"),
        (least, most) => format!("{least} to {most} arguments"),
    }
}
