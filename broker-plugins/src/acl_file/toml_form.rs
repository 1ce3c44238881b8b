//! The TOML form: each `[[rule]]` as the term that acl.conf would have for it.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::terms::{Kind, Problem, Term};

/// # Errors
/// It is no TOML, or has something that is no rule.
pub(super) fn parse(text: &str) -> Result<Vec<Term>, Problem> {
    let reader = Reader::new(text);
    let document = DeTable::parse(text).map_err(|error| {
        Problem::new(reader.line(error.span().unwrap_or_default().start), error.message())
    })?;
    let mut terms = Vec::new();
    for (key, value) in document.get_ref() {
        if key.get_ref() != "rule" {
            let known = "only [[rule]] is known here, not";
            return Err(reader.wrong(key.span().start, format!("{known} {}", key.get_ref())));
        }
        let DeValue::Array(rules) = value.get_ref() else {
            return Err(reader.wrong(value.span().start, "rules are written as [[rule]]"));
        };
        for rule in rules {
            terms.push(reader.rule(rule)?);
        }
    }
    Ok(terms)
}

struct Reader {
    /// Where lines end.
    line_ends: Vec<usize>,
}

type Item<'a> = Spanned<DeValue<'a>>;

impl Reader {
    fn new(text: &str) -> Self {
        Self { line_ends: text.match_indices('\n').map(|(at, _)| at).collect() }
    }

    fn line(&self, at: usize) -> usize {
        self.line_ends.partition_point(|end| *end < at) + 1
    }

    fn wrong(&self, at: usize, problem: impl Into<String>) -> Problem {
        Problem::new(self.line(at), problem)
    }

    fn term(&self, item: &Item<'_>, kind: Kind) -> Term {
        Term { line: self.line(item.span().start), kind }
    }

    fn rule(&self, item: &Item<'_>) -> Result<Term, Problem> {
        let at = item.span().start;
        let DeValue::Table(table) = item.get_ref() else {
            return Err(self.wrong(at, "a rule is a table"));
        };
        let (mut allows, mut access, mut topics) = (None, None, None);
        let mut who = Vec::new();
        for (key, value) in table {
            match key.get_ref().as_ref() {
                "permission" => allows = Some(self.word(value)?),
                "access" => access = Some(self.word(value)?),
                "topics" => topics = Some(self.topics(value)?),
                _ => who.push(self.condition(key, value)?),
            }
        }
        let Some(allows) = allows else {
            return Err(self.wrong(at, "permission is missing: \"allow\" or \"deny\""));
        };
        let line = self.line(at);
        let term = |kind| Term { line, kind };
        let all = |mut who: Vec<Term>| match who.len() {
            0 => term(Kind::Atom("all".to_owned())),
            1 => who.remove(0),
            _ => pair(line, "and", term(Kind::List(who))),
        };
        let everything = || term(Kind::List(vec![term(Kind::Text("#".to_owned()))]));
        let parts = if who.is_empty() && access.is_none() && topics.is_none() {
            vec![allows, all(who)]
        } else {
            let pubsub = || term(Kind::Atom("pubsub".to_owned()));
            let topics = topics.unwrap_or_else(everything);
            vec![allows, all(who), access.unwrap_or_else(pubsub), topics]
        };
        Ok(term(Kind::Tuple(parts)))
    }

    /// `user = "…"`, `client = "…"`, `ipaddr = "…"`, `any = [{…}, …]`.
    fn condition(
        &self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Item<'_>,
    ) -> Result<Term, Problem> {
        let line = self.line(key.span().start);
        match (key.get_ref().as_ref(), value.get_ref()) {
            (word @ ("user" | "client" | "ipaddr"), DeValue::String(text)) => {
                Ok(pair(line, word, self.term(value, Kind::Text(text.to_string()))))
            }
            (word @ ("user" | "client" | "ipaddr"), _) => {
                Err(Problem::new(line, format!("{word} needs a text")))
            }
            ("any", DeValue::Array(conditions)) => {
                let conditions = conditions.iter().map(|item| self.conditions(item));
                let list = conditions.collect::<Result<_, _>>()?;
                Ok(pair(line, "or", self.term(value, Kind::List(list))))
            }
            ("any", _) => Err(Problem::new(line, "any needs a list of tables")),
            (word, _) => Err(Problem::new(
                line,
                format!(
                    "permission, user, client, ipaddr, any, access or topics is expected, not {word}"
                ),
            )),
        }
    }

    /// A table of `any`, of which all must hold.
    fn conditions(&self, item: &Item<'_>) -> Result<Term, Problem> {
        let DeValue::Table(table) = item.get_ref() else {
            return Err(self.wrong(item.span().start, "any needs a list of tables"));
        };
        let all = table.iter().map(|(key, value)| self.condition(key, value));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        Ok(pair(self.line(item.span().start), "and", self.term(item, Kind::List(all))))
    }

    fn word(&self, item: &Item<'_>) -> Result<Term, Problem> {
        match item.get_ref() {
            DeValue::String(word) => Ok(self.term(item, Kind::Atom(word.to_string()))),
            _ => Err(self.wrong(item.span().start, "a word in quotes is expected")),
        }
    }

    fn topics(&self, item: &Item<'_>) -> Result<Term, Problem> {
        let DeValue::Array(list) = item.get_ref() else {
            return Err(self.wrong(item.span().start, "topics is a list"));
        };
        let topics = list.iter().map(|topic| match topic.get_ref() {
            DeValue::String(text) => Ok(self.term(topic, Kind::Text(text.to_string()))),
            DeValue::Table(table) => match (table.len(), table.get("eq").map(|eq| eq.get_ref())) {
                (1, Some(DeValue::String(text))) => {
                    let text = self.term(topic, Kind::Text(text.to_string()));
                    Ok(pair(text.line, "eq", text))
                }
                _ => Err(self.wrong(topic.span().start, "a topic is a text or { eq = TEXT }")),
            },
            _ => Err(self.wrong(topic.span().start, "a topic is a text or { eq = TEXT }")),
        });
        Ok(self.term(item, Kind::List(topics.collect::<Result<_, _>>()?)))
    }
}

fn pair(line: usize, word: &str, value: Term) -> Term {
    let word = Term { line, kind: Kind::Atom(word.to_owned()) };
    Term { line, kind: Kind::Tuple(vec![word, value]) }
}
