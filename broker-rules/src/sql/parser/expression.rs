//! Expressions, loosest operators first.

use super::{Parsed, Parser, unquoted};
use crate::sql::ast::{Comparison, Expr, ExprKind, Operator, Position, Sign, Term};
use crate::sql::lexer::Kind;

const CHAINED: &str = "comparisons cannot be chained: use parentheses";

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let first = self.conjunction()?;
        if !self.is("OR") {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.eat("OR") {
            terms.push(self.conjunction()?);
        }
        Ok(Expr { at, kind: ExprKind::Or(terms) })
    }

    fn conjunction(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let first = self.negation()?;
        if !self.is("AND") {
            return Ok(first);
        }
        let mut terms = vec![first];
        while self.eat("AND") {
            terms.push(self.negation()?);
        }
        Ok(Expr { at, kind: ExprKind::And(terms) })
    }

    fn negation(&mut self) -> Parsed<Expr> {
        let at = self.position();
        if !self.eat("NOT") {
            return self.comparison();
        }
        self.enter()?;
        let operand = self.negation()?;
        self.leave();
        Ok(Expr { at, kind: ExprKind::Not(Box::new(operand)) })
    }

    fn comparison(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let left = self.sum()?;
        let kind = if let Some(comparison) = self.peek_comparison() {
            self.advance();
            ExprKind::Compare(comparison, Box::new(left), Box::new(self.sum()?))
        } else if self.is("IN") || self.is("NOT") {
            let is_negated = self.eat("NOT");
            self.expect("IN")?;
            self.expect("(")?;
            self.enter()?;
            let items = self.list(")", "elements of IN")?;
            self.leave();
            ExprKind::In { value: Box::new(left), is_negated, items }
        } else {
            return Ok(left);
        };
        if self.peek_comparison().is_some() || self.is("IN") || self.is("NOT") {
            return Err(self.syntax(self.token().at, CHAINED));
        }
        Ok(Expr { at, kind })
    }

    fn peek_comparison(&self) -> Option<Comparison> {
        let Kind::Fixed(fixed) = self.token().kind else { return None };
        Some(match fixed {
            "=" => Comparison::Equal,
            "<>" | "!=" => Comparison::NotEqual,
            "<" => Comparison::Less,
            "<=" => Comparison::LessOrEqual,
            ">" => Comparison::Greater,
            ">=" => Comparison::GreaterOrEqual,
            "=~" => Comparison::Matches,
            _ => return None,
        })
    }

    fn sum(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let first = self.product()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.token().kind {
                Kind::Fixed("+") => Operator::Add,
                Kind::Fixed("-") => Operator::Subtract,
                _ => return Ok(arithmetic(at, first, rest)),
            };
            let at = self.position();
            self.advance();
            rest.push(Term { at, operator, operand: self.product()? });
        }
    }

    fn product(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let first = self.unary()?;
        let mut rest = Vec::new();
        loop {
            let operator = match self.token().kind {
                Kind::Fixed("*") => Operator::Multiply,
                Kind::Fixed("/") => Operator::Divide,
                Kind::Fixed("DIV") => Operator::Div,
                Kind::Fixed("MOD") => Operator::Mod,
                _ => return Ok(arithmetic(at, first, rest)),
            };
            let at = self.position();
            self.advance();
            rest.push(Term { at, operator, operand: self.unary()? });
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let sign = match self.token().kind {
            Kind::Fixed("+") => Sign::Plus,
            Kind::Fixed("-") => Sign::Minus,
            _ => return self.primary(),
        };
        self.advance();
        if sign == Sign::Minus {
            // -9223372036854775808 is an integer, though without its sign it is none.
            if let Some(number) = self.number(at, true)? {
                return Ok(number);
            }
        }
        self.enter()?;
        let operand = self.unary()?;
        self.leave();
        Ok(Expr { at, kind: ExprKind::Sign(sign, Box::new(operand)) })
    }

    /// The number at `at`, if the next token is one.
    fn number(&mut self, at: Position, is_negative: bool) -> Parsed<Option<Expr>> {
        let kind = match self.token().kind {
            Kind::Integer(digits) => ExprKind::Integer(self.to_integer(at, is_negative, digits)?),
            Kind::Float(digits) => match digits.parse::<f64>() {
                Ok(float) if float.is_finite() => {
                    ExprKind::Float(if is_negative { -float } else { float })
                }
                _ => return Err(self.syntax(at.0, "number is too large")),
            },
            _ => return Ok(None),
        };
        self.advance();
        Ok(Some(Expr { at, kind }))
    }

    // What nests returns at once: frames of their own keep those of deep nesting small.
    fn primary(&mut self) -> Parsed<Expr> {
        match self.token().kind {
            Kind::Fixed("(") => self.parenthesised(),
            Kind::Fixed("CASE") => self.case(),
            Kind::Fixed("[") => self.range_or_list(),
            Kind::Name(_) | Kind::Fixed("DIV" | "MOD")
                if self.second().kind == Kind::Fixed("(") =>
            {
                self.call()
            }
            _ => self.atom(),
        }
    }

    fn atom(&mut self) -> Parsed<Expr> {
        let at = self.position();
        if let Some(number) = self.number(at, false)? {
            return Ok(number);
        }
        if let Some((path, range)) = self.path()? {
            let path = Box::new(path);
            let kind = match range {
                Some(range) => ExprKind::RangeGet(path, range),
                None => ExprKind::Path(path),
            };
            return Ok(Expr { at, kind });
        }
        let kind = match self.token().kind {
            Kind::String(raw) => ExprKind::String(unquoted(raw, "'")),
            Kind::Fixed("TRUE") => ExprKind::Bool(true),
            Kind::Fixed("FALSE") => ExprKind::Bool(false),
            _ => return Err(self.expected("an expression")),
        };
        self.advance();
        Ok(Expr { at, kind })
    }

    fn parenthesised(&mut self) -> Parsed<Expr> {
        let at = self.position();
        self.advance();
        self.enter()?;
        let mut inner = self.expression()?;
        self.expect(")")?;
        self.leave();
        // With the parentheses: the text of a field begins there.
        inner.at = at;
        Ok(inner)
    }

    fn call(&mut self) -> Parsed<Expr> {
        let at = self.position();
        let name = self.source(self.token()).to_owned();
        self.advance();
        self.advance();
        self.enter()?;
        let arguments =
            if self.eat(")") { Vec::new() } else { self.list(")", "arguments of a function")? };
        self.leave();
        Ok(Expr { at, kind: ExprKind::Call { name, arguments } })
    }

    fn range_or_list(&mut self) -> Parsed<Expr> {
        let at = self.position();
        self.advance();
        if let Some(range) = self.range()? {
            return Ok(Expr { at, kind: ExprKind::Range(range) });
        }
        self.enter()?;
        let items = if self.eat("]") { Vec::new() } else { self.list("]", "elements of a list")? };
        self.leave();
        Ok(Expr { at, kind: ExprKind::List(items) })
    }

    fn case(&mut self) -> Parsed<Expr> {
        let at = self.position();
        self.advance();
        self.enter()?;
        let operand = if self.is("WHEN") { None } else { Some(Box::new(self.expression()?)) };
        let mut branches = Vec::new();
        self.expect("WHEN")?;
        loop {
            let when = self.expression()?;
            self.expect("THEN")?;
            branches.push((when, self.expression()?));
            if !self.eat("WHEN") {
                break;
            }
        }
        let otherwise = if self.eat("ELSE") { Some(Box::new(self.expression()?)) } else { None };
        if !self.eat("END") {
            let what = if otherwise.is_some() { "END" } else { "WHEN, ELSE or END" };
            return Err(self.expected(what));
        }
        self.leave();
        Ok(Expr { at, kind: ExprKind::Case { operand, branches, otherwise } })
    }
}

fn arithmetic(at: Position, first: Expr, rest: Vec<Term>) -> Expr {
    if rest.is_empty() {
        return first;
    }
    Expr { at, kind: ExprKind::Arithmetic(Box::new(first), rest) }
}
