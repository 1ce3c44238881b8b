//! Terms of Erlang as `file:consult` reads them: atoms, texts, numbers, tuples and lists, each ended by a full stop.

/// A term, and the line that it begins in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) line: usize,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Atom(String),
    /// `"…"` or `<<"…">>`.
    Text(String),
    Number(String),
    Tuple(Vec<Term>),
    List(Vec<Term>),
}

/// What is wrong, and in which line, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: usize,
    pub(super) problem: String,
}

impl Problem {
    pub(super) fn new(line: usize, problem: impl Into<String>) -> Self {
        Self { line, problem: problem.into() }
    }
}

impl Kind {
    /// What it is, for a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Atom(name) => format!("the word {name}"),
            Self::Text(text) => format!("the text {text:?}"),
            Self::Number(digits) => format!("the number {digits}"),
            Self::Tuple(parts) => format!("a tuple of {}", parts.len()),
            Self::List(parts) => format!("a list of {}", parts.len()),
        }
    }
}

/// Tuples and lists in each other: rules need five.
const DEPTH_MAX: usize = 32;

/// A file as text, without a byte order mark.
pub(super) fn text_of(bytes: &[u8]) -> Result<&str, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        Problem::new(count_lines(before) + 1, "is not UTF-8")
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// All terms of a file.
pub(super) fn parse(text: &str) -> Result<Vec<Term>, Problem> {
    let mut reader = Reader { rest: text, line: 1 };
    let mut terms = Vec::new();
    loop {
        reader.skip_blank();
        if reader.rest.is_empty() {
            return Ok(terms);
        }
        let term = reader.term(0)?;
        reader.skip_blank();
        if !reader.take(".") {
            return Err(reader.unexpected("a full stop after the rule"));
        }
        terms.push(term);
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn term(&mut self, depth: usize) -> Result<Term, Problem> {
        self.skip_blank();
        let line = self.line;
        if depth >= DEPTH_MAX {
            return Err(Problem::new(
                line,
                format!("more than {DEPTH_MAX} brackets in each other"),
            ));
        }
        let first = self.rest.chars().next();
        let kind = match first {
            Some('{') => Kind::Tuple(self.sequence('}', depth)?),
            Some('[') => Kind::List(self.sequence(']', depth)?),
            Some('"') => Kind::Text(self.quoted('"')?),
            Some('\'') => Kind::Atom(self.quoted('\'')?),
            Some('<') => Kind::Text(self.binary()?),
            Some(c) if c.is_ascii_lowercase() => {
                Kind::Atom(self.take_while(|c| c.is_alphanumeric() || "_@".contains(c)).to_owned())
            }
            Some(c) if c.is_ascii_digit() => {
                Kind::Number(self.take_while(|c| c.is_ascii_digit()).to_owned())
            }
            _ => return Err(self.unexpected("a rule or a part of one")),
        };
        Ok(Term { line, kind })
    }

    /// Terms between brackets, with commas between.
    fn sequence(&mut self, end: char, depth: usize) -> Result<Vec<Term>, Problem> {
        let begun = self.line;
        self.rest = &self.rest[1..];
        let mut terms = Vec::new();
        self.skip_blank();
        if self.rest.starts_with(end) {
            self.rest = &self.rest[1..];
            return Ok(terms);
        }
        loop {
            terms.push(self.term(depth + 1)?);
            self.skip_blank();
            if self.rest.starts_with(end) {
                self.rest = &self.rest[1..];
                return Ok(terms);
            }
            if !self.take(",") {
                if self.rest.is_empty() {
                    return Err(Problem::new(begun, format!("its {end} is missing")));
                }
                return Err(self.unexpected(&format!("a comma or {end}")));
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Problem> {
        let begun = self.line;
        let mut chars = self.rest.char_indices().skip(1);
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next().map(|(_, c)| c) {
                    Some('n') => text.push('\n'),
                    Some('t') => text.push('\t'),
                    Some('r') => text.push('\r'),
                    Some('s') => text.push(' '),
                    Some(c @ ('"' | '\'' | '\\')) => text.push(c),
                    Some(c) => {
                        let problem = format!("the escape \\{} is not known", c.escape_default());
                        return Err(Problem::new(self.line, problem));
                    }
                    None => break,
                },
                c => {
                    self.line += usize::from(c == '\n');
                    text.push(c);
                }
            }
        }
        Err(Problem::new(begun, format!("its closing {quote} is missing")))
    }

    /// `<<"…">>`, `<<"…"/utf8>>`.
    fn binary(&mut self) -> Result<String, Problem> {
        if !self.take("<<") {
            return Err(self.unexpected("a rule or a part of one"));
        }
        self.skip_blank();
        if !self.rest.starts_with('"') {
            return Err(self.unexpected("a text after <<"));
        }
        let text = self.quoted('"')?;
        self.take("/utf8");
        self.skip_blank();
        if self.take(">>") { Ok(text) } else { Err(self.unexpected(">>")) }
    }

    /// Blanks and comments.
    fn skip_blank(&mut self) {
        loop {
            let skipped = self.take_while(char::is_whitespace);
            self.line += count_lines(skipped.as_bytes());
            if !self.rest.starts_with('%') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    fn take(&mut self, wanted: &str) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take_while(&mut self, is_wanted: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is_wanted(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let found = match self.rest.chars().next() {
            Some(c) => format!("{c:?}"),
            None => "the end of the file".to_owned(),
        };
        Problem::new(self.line, format!("{wanted} is expected, not {found}"))
    }
}
