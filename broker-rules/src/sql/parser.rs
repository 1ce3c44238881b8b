//! From tokens to the tree: clauses and fields. Expressions and paths have files of their own.
//!
//! Nom makes the tokens. Here one token of foresight decides every choice, so plain functions give errors that name
//! what was expected.

mod expression;
mod path;

use super::ast::{Body, Expr, Field, Path, Position, Source, Statement};
use super::error::{Place, SqlError};
use super::lexer::{Kind, Token, tokens};
use crate::limits::Limits;

/// Items that FROM may have.
const MAX_SOURCES: usize = 64;

/// Characters of a token that an error shows.
const SHOWN: usize = 40;

/// The error is boxed to keep the frames of deep nesting small.
type Parsed<T> = Result<T, Box<SqlError>>;

pub(super) fn parse(text: &str, limits: &Limits) -> Result<Statement, SqlError> {
    let mut parser = Parser { text, tokens: tokens(text), next: 0, depth: 0, limits };
    match text.find('\0') {
        Some(at) => Err(*parser.syntax(at, "U+0000 is not allowed")),
        None => parser.statement().map_err(|error| *error),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// The last of them is the end, which is never passed.
    tokens: Vec<Token<'a>>,
    next: usize,
    /// Levels of nesting around the next token.
    depth: usize,
    limits: &'a Limits,
}

impl<'a> Parser<'a> {
    fn statement(&mut self) -> Parsed<Statement> {
        let mut follows = "FROM";
        let body = if self.eat("SELECT") {
            Body::Select(self.fields()?)
        } else if self.eat("FOREACH") {
            let fields = self.fields()?;
            follows = "DO, INCASE or FROM";
            let mut each = None;
            if self.eat("DO") {
                follows = "INCASE or FROM";
                each = Some(self.fields()?);
            }
            let mut condition = None;
            if self.eat("INCASE") {
                follows = "FROM";
                condition = Some(self.expression()?);
            }
            Body::Foreach { fields, each, condition }
        } else {
            return Err(self.expected("SELECT or FOREACH"));
        };
        if !self.eat("FROM") {
            return Err(self.expected(follows));
        }
        let sources = self.sources()?;
        let mut follows = "WHERE or end of text";
        let condition = if self.eat("WHERE") {
            follows = "end of text";
            Some(self.expression()?)
        } else {
            None
        };
        if self.eat(";") {
            follows = "end of text";
        }
        match self.token().kind {
            Kind::End => Ok(Statement { body, sources, condition }),
            _ => Err(self.expected(follows)),
        }
    }

    fn fields(&mut self) -> Parsed<Vec<Field>> {
        let mut fields = Vec::new();
        loop {
            self.check_count(fields.len(), self.limits.max_fields, "fields")?;
            fields.push(self.field()?);
            if !self.eat(",") {
                return Ok(fields);
            }
        }
    }

    fn field(&mut self) -> Parsed<Field> {
        let at = self.position();
        if self.eat("*") {
            return Ok(Field::All(at));
        }
        let expr = self.expression()?;
        let end = Position(self.tokens[self.next - 1].end);
        let target = self.target()?;
        Ok(Field::Value { expr, end, target })
    }

    fn target(&mut self) -> Parsed<Option<Path>> {
        let has_as = self.eat("AS");
        let Some(target) = self.path_of_keys()? else {
            return if has_as { Err(self.expected("a name")) } else { Ok(None) };
        };
        // As `a LIKE 'x%'` reads.
        if let (false, Kind::String(_)) = (has_as, self.token().kind) {
            let cause = format!("unexpected string after alias `{}`", shortened(&target.name));
            return Err(self.syntax(self.token().at, cause));
        }
        Ok(Some(target))
    }

    fn sources(&mut self) -> Parsed<Vec<Source>> {
        let mut sources = Vec::new();
        loop {
            self.check_count(sources.len(), MAX_SOURCES, "FROM items")?;
            let at = self.position();
            let text = match self.token().kind {
                Kind::Name(name) => name.to_owned(),
                Kind::Quoted(raw) => unquoted(raw, "\""),
                Kind::String(raw) => unquoted(raw, "'"),
                _ => return Err(self.expected("a topic filter or the name of an event")),
            };
            self.advance();
            sources.push(Source { text, at });
            if !self.eat(",") {
                return Ok(sources);
            }
        }
    }

    /// Expressions up to a `close`; `what` they are for the limit on their number.
    fn list(&mut self, close: &'static str, what: &str) -> Parsed<Vec<Expr>> {
        let mut items = Vec::new();
        loop {
            self.check_count(items.len(), self.limits.max_fields, what)?;
            items.push(self.expression()?);
            if self.eat(close) {
                return Ok(items);
            }
            if !self.eat(",") {
                return Err(self.expected(&format!("`,` or `{close}`")));
            }
        }
    }

    /// Refuses one more than `count` if that is beyond `max`.
    fn check_count(&self, count: usize, max: usize, what: &str) -> Parsed<()> {
        if count < max {
            return Ok(());
        }
        Err(self.limit("max_fields", format!("more than {max} {what}")))
    }

    /// Goes one level deeper. Whoever does goes up again with [`Self::leave`], unless the statement is refused.
    fn enter(&mut self) -> Parsed<()> {
        if self.depth >= self.limits.max_depth {
            let cause = format!("more than {} levels of nesting", self.limits.max_depth);
            return Err(self.limit("max_depth", cause));
        }
        self.depth += 1;
        Ok(())
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    fn token(&self) -> Token<'a> {
        self.tokens[self.next]
    }

    /// The token behind the next one.
    fn second(&self) -> Token<'a> {
        self.tokens[(self.next + 1).min(self.tokens.len() - 1)]
    }

    fn advance(&mut self) {
        self.next = (self.next + 1).min(self.tokens.len() - 1);
    }

    fn position(&self) -> Position {
        Position(self.token().at)
    }

    fn is(&self, fixed: &'static str) -> bool {
        self.token().kind == Kind::Fixed(fixed)
    }

    fn eat(&mut self, fixed: &'static str) -> bool {
        let is = self.is(fixed);
        if is {
            self.advance();
        }
        is
    }

    fn expect(&mut self, fixed: &'static str) -> Parsed<()> {
        if self.eat(fixed) {
            return Ok(());
        }
        let is_word = fixed.starts_with(|c: char| c.is_ascii_alphabetic());
        Err(self.expected(&if is_word { fixed.to_owned() } else { format!("`{fixed}`") }))
    }

    /// The next token as it is written.
    fn source(&self, token: Token<'_>) -> &'a str {
        &self.text[token.at..token.end]
    }

    #[cold]
    fn expected(&self, what: &str) -> Box<SqlError> {
        let token = self.token();
        let source = shortened(self.source(token));
        let cause = match token.kind {
            Kind::Bad(why @ "unexpected character") => format!("{why} `{source}`"),
            Kind::Bad(why) => why.to_owned(),
            Kind::End => format!("expected {what}, found end of text"),
            Kind::String(_) => format!("expected {what}, found string {source}"),
            Kind::Fixed(fixed) if !fixed.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                format!("expected {what}, found `{source}`")
            }
            _ => format!("expected {what}, found {source}"),
        };
        self.syntax(token.at, cause)
    }

    #[cold]
    fn syntax(&self, at: usize, cause: impl Into<String>) -> Box<SqlError> {
        Box::new(SqlError::Syntax { place: Place::of(self.text, at), cause: cause.into() })
    }

    #[cold]
    fn limit(&self, key: &'static str, cause: String) -> Box<SqlError> {
        Box::new(SqlError::Limit { key, place: Place::of(self.text, self.token().at), cause })
    }
}

/// What stands between quotes, with pairs of them made one.
fn unquoted(raw: &str, quote: &str) -> String {
    raw.replace(&quote.repeat(2), quote)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
