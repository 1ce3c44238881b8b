//! A tree as text, which reads as the same tree. Parentheses stand only where the tree needs them.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{
    Body, Comparison, Expr, ExprKind, Field, Operator, Path, Range, Sign, Source, Statement, Step,
};
use super::lexer::{is_bare_name, is_word};

/// How strongly an expression holds together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Not,
    Compare,
    Sum,
    Product,
    Sign,
    Primary,
}

impl Display for Statement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.body {
            Body::Select(fields) => {
                f.write_str("SELECT ")?;
                list(f, fields)?;
            }
            Body::Foreach { fields, each, condition } => {
                f.write_str("FOREACH ")?;
                list(f, fields)?;
                if let Some(each) = each {
                    f.write_str(" DO ")?;
                    list(f, each)?;
                }
                if let Some(condition) = condition {
                    write!(f, " INCASE {condition}")?;
                }
            }
        }
        f.write_str(" FROM ")?;
        list(f, &self.sources)?;
        if let Some(condition) = &self.condition {
            write!(f, " WHERE {condition}")?;
        }
        Ok(())
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        quoted(f, &self.text, '"')
    }
}

impl Display for Field {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(_) => f.write_str("*"),
            Self::Value { expr, target: None, .. } => expr.fmt(f),
            Self::Value { expr, target: Some(target), .. } => write!(f, "{expr} AS {target}"),
        }
    }
}

impl Display for Path {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_quoted || !is_bare_name(&self.name) {
            quoted(f, &self.name, '"')?;
        } else {
            f.write_str(&self.name)?;
        }
        for step in &self.steps {
            match step {
                Step::Key(key) if is_word(key) => write!(f, ".{key}")?,
                Step::Key(key) => {
                    f.write_char('.')?;
                    quoted(f, key, '\'')?;
                }
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Append => f.write_str("[-0]")?,
                Step::IndexBy(path) => write!(f, "[{path}]")?,
            }
        }
        Ok(())
    }
}

impl Display for Range {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}..{}]", self.first, self.last)
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Integer(integer) => integer.fmt(f),
            // With a fraction or an exponent, always.
            ExprKind::Float(float) => write!(f, "{float:?}"),
            ExprKind::String(text) => quoted(f, text, '\''),
            ExprKind::Bool(true) => f.write_str("TRUE"),
            ExprKind::Bool(false) => f.write_str("FALSE"),
            ExprKind::Path(path) => path.fmt(f),
            ExprKind::RangeGet(path, range) => write!(f, "{path}{range}"),
            ExprKind::Range(range) => range.fmt(f),
            ExprKind::List(items) => {
                f.write_char('[')?;
                list(f, items)?;
                f.write_char(']')
            }
            ExprKind::Call { name, arguments } => {
                write!(f, "{name}(")?;
                list(f, arguments)?;
                f.write_char(')')
            }
            ExprKind::Case { operand, branches, otherwise } => {
                f.write_str("CASE")?;
                if let Some(operand) = operand {
                    write!(f, " {operand}")?;
                }
                for (when, then) in branches {
                    write!(f, " WHEN {when} THEN {then}")?;
                }
                if let Some(otherwise) = otherwise {
                    write!(f, " ELSE {otherwise}")?;
                }
                f.write_str(" END")
            }
            ExprKind::Or(terms) => joined(f, terms, " OR ", Level::And),
            ExprKind::And(terms) => joined(f, terms, " AND ", Level::Not),
            ExprKind::Not(operand) => {
                f.write_str("NOT ")?;
                operand_at(f, operand, Level::Not)
            }
            ExprKind::Compare(comparison, left, right) => {
                operand_at(f, left, Level::Sum)?;
                write!(f, " {} ", comparison.text())?;
                operand_at(f, right, Level::Sum)
            }
            ExprKind::In { value, is_negated, items } => {
                operand_at(f, value, Level::Sum)?;
                f.write_str(if *is_negated { " NOT IN (" } else { " IN (" })?;
                list(f, items)?;
                f.write_char(')')
            }
            ExprKind::Arithmetic(first, rest) => {
                // One that binds as strongly as its neighbours stood in parentheses.
                let needed = if level(self) == Level::Sum { Level::Product } else { Level::Sign };
                operand_at(f, first, needed)?;
                for term in rest {
                    write!(f, " {} ", term.operator.text())?;
                    operand_at(f, &term.operand, needed)?;
                }
                Ok(())
            }
            ExprKind::Sign(sign, operand) => signed(f, *sign, operand),
        }
    }
}

impl Operator {
    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Div => "DIV",
            Self::Mod => "MOD",
        }
    }
}

impl Comparison {
    /// As it is written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Matches => "=~",
        }
    }
}

fn level(expr: &Expr) -> Level {
    match &expr.kind {
        ExprKind::Or(_) => Level::Or,
        ExprKind::And(_) => Level::And,
        ExprKind::Not(_) => Level::Not,
        ExprKind::Compare(..) | ExprKind::In { .. } => Level::Compare,
        ExprKind::Arithmetic(_, rest) => match rest.first().map(|term| term.operator) {
            Some(Operator::Add | Operator::Subtract) => Level::Sum,
            _ => Level::Product,
        },
        ExprKind::Sign(..) => Level::Sign,
        _ => Level::Primary,
    }
}

fn operand_at(f: &mut Formatter<'_>, operand: &Expr, needed: Level) -> fmt::Result {
    if level(operand) < needed { write!(f, "({operand})") } else { operand.fmt(f) }
}

fn signed(f: &mut Formatter<'_>, sign: Sign, operand: &Expr) -> fmt::Result {
    let starts_with_minus = match operand.kind {
        ExprKind::Integer(integer) => integer < 0,
        ExprKind::Float(float) => float.is_sign_negative(),
        ExprKind::Sign(inner, _) => inner == Sign::Minus,
        _ => false,
    };
    let is_number = matches!(operand.kind, ExprKind::Integer(_) | ExprKind::Float(_));
    match sign {
        Sign::Plus => f.write_char('+')?,
        // Two in a row begin a comment.
        Sign::Minus if starts_with_minus => f.write_str("- ")?,
        // Else the sign would become part of the number.
        Sign::Minus if is_number => return write!(f, "-({operand})"),
        Sign::Minus => f.write_char('-')?,
    }
    operand_at(f, operand, Level::Sign)
}

fn joined(f: &mut Formatter<'_>, terms: &[Expr], between: &str, needed: Level) -> fmt::Result {
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        operand_at(f, term, needed)?;
    }
    Ok(())
}

fn list<T: Display>(f: &mut Formatter<'_>, items: &[T]) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        item.fmt(f)?;
    }
    Ok(())
}

fn quoted(f: &mut Formatter<'_>, text: &str, quote: char) -> fmt::Result {
    f.write_char(quote)?;
    for c in text.chars() {
        if c == quote {
            f.write_char(quote)?;
        }
        f.write_char(c)?;
    }
    f.write_char(quote)
}
