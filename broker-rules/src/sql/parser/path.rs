//! Paths, targets, indexes and ranges.

use super::{Parsed, Parser, unquoted};
use crate::sql::ast::{Path, Position, Range, Step};
use crate::sql::lexer::{Kind, is_word};

impl Parser<'_> {
    /// A path that may end with a range, if the next token is a name.
    pub(super) fn path(&mut self) -> Parsed<Option<(Path, Option<Range>)>> {
        let at = self.position();
        let (name, is_quoted) = match self.token().kind {
            Kind::Name(name) => (name.to_owned(), false),
            Kind::Quoted(raw) => (unquoted(raw, "\""), true),
            _ => return Ok(None),
        };
        self.advance();
        let mut path = Path { at, name, is_quoted, steps: Vec::new() };
        loop {
            if self.eat(".") {
                path.steps.push(Step::Key(self.key()?));
            } else if self.eat("[") {
                if let Some(range) = self.range()? {
                    if self.is(".") || self.is("[") {
                        let cause = "nothing may follow the range of a path";
                        return Err(self.syntax(self.token().at, cause));
                    }
                    return Ok(Some((path, Some(range))));
                }
                path.steps.push(self.index()?);
                self.expect("]")?;
            } else {
                return Ok(Some((path, None)));
            }
        }
    }

    /// A path without a range, if the next token is a name.
    pub(super) fn path_of_keys(&mut self) -> Parsed<Option<Path>> {
        match self.path()? {
            Some((_, Some(range))) => Err(self.syntax(range.at.0, "a range is not allowed here")),
            found => Ok(found.map(|(path, _)| path)),
        }
    }

    fn key(&mut self) -> Parsed<String> {
        let token = self.token();
        let key = match token.kind {
            Kind::Name(text) | Kind::Integer(text) => text.to_owned(),
            Kind::Quoted(raw) => unquoted(raw, "\""),
            Kind::String(raw) => unquoted(raw, "'"),
            Kind::Fixed(_) if is_word(self.source(token)) => self.source(token).to_owned(),
            Kind::Float(text) => {
                let cause = format!("{text} may be a number or several keys: put keys in quotes");
                return Err(self.syntax(token.at, cause));
            }
            _ => return Err(self.expected("a key")),
        };
        self.advance();
        Ok(key)
    }

    /// What is behind a `[`, if it is a range, up to and with its `]`.
    ///
    /// No blanks stand around `..`: `[1 ..4]` is not a range.
    pub(super) fn range(&mut self) -> Parsed<Option<Range>> {
        let ahead = if self.is("-") || self.is("+") { 2 } else { 1 };
        let dots = self.tokens.get(self.next + ahead);
        let Some(&dots) = dots.filter(|token| token.kind == Kind::Fixed("..")) else {
            return Ok(None);
        };
        let at = self.position();
        let (first, _) = self.integer()?;
        if self.tokens[self.next - 1].end != dots.at || self.second().at != dots.end {
            return Err(self.syntax(dots.at, "blanks are not allowed around `..`"));
        }
        self.advance();
        let (last, _) = self.integer()?;
        self.expect("]")?;
        Ok(Some(Range { at, first, last }))
    }

    fn index(&mut self) -> Parsed<Step> {
        if let Kind::Name(_) | Kind::Quoted(_) = self.token().kind {
            self.enter()?;
            let path = self.path_of_keys()?;
            self.leave();
            return Ok(Step::IndexBy(path.expect("it begins with a name")));
        }
        Ok(match self.integer()? {
            (0, true) => Step::Append,
            (index, _) => Step::Index(index),
        })
    }

    /// An integer with perhaps a sign, and whether that is a minus.
    fn integer(&mut self) -> Parsed<(i64, bool)> {
        let at = self.position();
        let is_negative = self.eat("-");
        if !is_negative {
            self.eat("+");
        }
        let Kind::Integer(digits) = self.token().kind else {
            return Err(self.expected("an integer"));
        };
        let integer = self.to_integer(at, is_negative, digits)?;
        self.advance();
        Ok((integer, is_negative))
    }

    /// The integer at `at`.
    pub(super) fn to_integer(&self, at: Position, is_negative: bool, digits: &str) -> Parsed<i64> {
        let mut integer = 0_i64;
        for digit in digits.bytes().map(|byte| i64::from(byte - b'0')) {
            let digit = if is_negative { -digit } else { digit };
            integer = match integer.checked_mul(10).and_then(|tens| tens.checked_add(digit)) {
                Some(integer) => integer,
                None => return Err(self.syntax(at.0, "integer is beyond 64 bits")),
            };
        }
        Ok(integer)
    }
}
