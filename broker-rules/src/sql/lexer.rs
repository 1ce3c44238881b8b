//! The tokens of a statement.

use nom::branch::alt;
use nom::bytes::complete::{tag, take_till, take_until, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of, satisfy};
use nom::combinator::{map, opt, recognize, rest, value};
use nom::sequence::{delimited, preceded};
use nom::{IResult, Parser};

/// The words that are not names unless they are quoted or stand behind a dot.
const KEYWORDS: [&str; 22] = [
    "AND", "AS", "CASE", "DIV", "DO", "ELSE", "ELSIF", "END", "FALSE", "FOREACH", "FROM", "IF",
    "IN", "INCASE", "MOD", "NOT", "OR", "SELECT", "THEN", "TRUE", "WHEN", "WHERE",
];

/// Operators and punctuation, longer ones before what they begin with.
const SYMBOLS: [&str; 20] = [
    "<>", "<=", ">=", "!=", "=~", "..", "=", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ",",
    ".", ";",
];

/// A token with its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    /// Where it begins.
    pub(super) at: usize,
    /// Where it ends.
    pub(super) end: usize,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A keyword in upper case, an operator, or punctuation.
    Fixed(&'static str),
    Name(&'a str),
    /// `"…"`, what is between the quotes: pairs of them are still pairs.
    Quoted(&'a str),
    /// `'…'`, likewise.
    String(&'a str),
    Integer(&'a str),
    Float(&'a str),
    /// Not a token, and why. It is the last one before the end.
    Bad(&'static str),
    /// The end of the text.
    End,
}

/// All tokens of `text` and the end behind them.
pub(super) fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut left = skip_blanks(text);
    while !left.is_empty() {
        let at = text.len() - left.len();
        let Ok((behind, kind)) = token(left) else {
            let end = at + left.chars().next().map_or(0, char::len_utf8);
            tokens.push(Token { kind: Kind::Bad("unexpected character"), at, end });
            break;
        };
        tokens.push(Token { kind, at, end: text.len() - behind.len() });
        if matches!(kind, Kind::Bad(_)) {
            break;
        }
        left = skip_blanks(behind);
    }
    tokens.push(Token { kind: Kind::End, at: text.len(), end: text.len() });
    tokens
}

/// Whether `text` is a name without quotes.
pub(super) fn is_bare_name(text: &str) -> bool {
    is_word(text) && keyword(text).is_none()
}

/// Whether `text` is a name or a keyword.
pub(super) fn is_word(text: &str) -> bool {
    matches!(word(text), Ok(("", _)))
}

/// What is behind white space and comments.
fn skip_blanks(mut text: &str) -> &str {
    loop {
        text = text.trim_start_matches([' ', '\t', '\r', '\n']);
        let comment: IResult<&str, _> = preceded(tag("--"), take_till(|c| c == '\n')).parse(text);
        match comment {
            Ok((behind, _)) => text = behind,
            Err(_) => return text,
        }
    }
}

fn token(text: &str) -> IResult<&str, Kind<'_>> {
    alt((
        map(word, |word| keyword(word).map_or(Kind::Name(word), Kind::Fixed)),
        number,
        map(|text| quoted(text, '\''), Kind::String),
        map(|text| quoted(text, '"'), Kind::Quoted),
        value(Kind::Bad("string is not closed"), preceded(char('\''), rest)),
        value(Kind::Bad("quoted name is not closed"), preceded(char('"'), rest)),
        symbol,
    ))
    .parse(text)
}

fn word(text: &str) -> IResult<&str, &str> {
    recognize((
        satisfy(|c| c.is_ascii_alphabetic() || c == '_'),
        take_while(|c: char| c.is_ascii_alphanumeric() || "_$@~".contains(c)),
    ))
    .parse(text)
}

fn keyword(word: &str) -> Option<&'static str> {
    KEYWORDS.into_iter().find(|keyword| keyword.eq_ignore_ascii_case(word))
}

/// `1`, `1.5`, `1e3`, `1.5e-3`. What follows may be a name: `1b` is `1 AS b`.
fn number(text: &str) -> IResult<&str, Kind<'_>> {
    let fraction = (char('.'), take_while1(|c: char| c.is_ascii_digit()));
    let exponent = (one_of("eE"), opt(one_of("+-")), digit1);
    let (behind, whole) = digit1(text)?;
    let (behind, tail) = recognize((opt(fraction), opt(exponent))).parse(behind)?;
    let number = &text[..text.len() - behind.len()];
    Ok((behind, if tail.is_empty() { Kind::Integer(whole) } else { Kind::Float(number) }))
}

/// What is between two quotes, where a pair of them stands for one.
fn quoted(text: &str, quote: char) -> IResult<&str, &str> {
    let mark = if quote == '"' { "\"" } else { "'" };
    let mut part = delimited(char(quote), take_until(mark), char(quote));
    let (mut behind, _) = part.parse(text)?;
    while behind.starts_with(quote) {
        (behind, _) = part.parse(behind)?;
    }
    Ok((behind, &text[1..text.len() - behind.len() - 1]))
}

fn symbol(text: &str) -> IResult<&str, Kind<'_>> {
    for symbol in SYMBOLS {
        if let Some(behind) = text.strip_prefix(symbol) {
            return Ok((behind, Kind::Fixed(symbol)));
        }
    }
    Err(nom::Err::Error(nom::error::Error::new(text, nom::error::ErrorKind::OneOf)))
}
