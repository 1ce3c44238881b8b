//! Rules: from terms to what can be compared, and the first that fits a client, an action and a topic.

use std::net::IpAddr;

use broker_core::extension::Action;
use broker_core::{ClientInfo, Network, topic};

use super::filters;
use super::terms::{Kind, Problem, Term};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// Client Identifier.
    pub client_id: &'a str,
    /// User Name.
    pub username: Option<&'a str>,
    /// Address; `None` for a Unix socket.
    pub address: Option<IpAddr>,
}

/// The rules of a file, in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Debug)]
pub(super) struct Rule {
    pub(super) allows: bool,
    pub(super) who: Who,
    pub(super) publishes: bool,
    pub(super) subscribes: bool,
    /// `None` for all topics: `{allow, all}.`
    pub(super) topics: Option<Vec<Topic>>,
}

#[derive(Debug)]
pub(super) enum Who {
    All,
    /// Who has no user name.
    Nameless,
    User(String),
    Client(String),
    Address(Network),
    And(Vec<Self>),
    Or(Vec<Self>),
}

#[derive(Debug)]
pub(super) enum Topic {
    /// `{eq, "…"}`: this very topic or filter.
    Equal(String),
    /// Compared as EMQ X does.
    Filter(Vec<Level>),
    /// Compared as MQTT does.
    Mqtt(Vec<Level>),
}

#[derive(Debug)]
pub(super) enum Level {
    Name(String),
    /// `+`
    Any,
    /// `#`
    Rest,
    /// `%u`
    User,
    /// `%c`
    Client,
    /// `%u` or `%c` within other text.
    Filled(String),
}

impl From<Vec<Rule>> for Rules {
    fn from(rules: Vec<Rule>) -> Self {
        Self(rules)
    }
}

impl Rules {
    /// # Errors
    /// A term is no rule.
    pub(super) fn of(terms: &[Term]) -> Result<Self, Problem> {
        terms.iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the first rule that fits allows it; `None` if none fits.
    pub(super) fn decide(&self, client: &Asker<'_>, action: Action, topic: &str) -> Option<bool> {
        let levels: Vec<&str> = topic.split('/').collect();
        self.0.iter().find(|rule| rule.fits(client, action, topic, &levels)).map(|rule| rule.allows)
    }
}

impl Rule {
    fn fits(&self, client: &Asker<'_>, action: Action, topic: &str, levels: &[&str]) -> bool {
        let is_concerned = match action {
            Action::Publish => self.publishes,
            Action::Subscribe => self.subscribes,
        };
        is_concerned
            && self.who.is(client)
            && self.topics.as_ref().is_none_or(|topics| {
                topics.iter().any(|wanted| wanted.fits(client, topic, levels, self.allows))
            })
    }
}

impl Who {
    fn is(&self, client: &Asker<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Nameless => client.username.is_none(),
            Self::User(name) => client.username == Some(name),
            Self::Client(id) => client.client_id == id,
            Self::Address(block) => client.address.is_some_and(|address| block.contains(address)),
            Self::And(all) => all.iter().all(|who| who.is(client)),
            Self::Or(any) => any.iter().any(|who| who.is(client)),
        }
    }
}

impl Topic {
    fn fits(&self, client: &Asker<'_>, topic: &str, levels: &[&str], allows: bool) -> bool {
        match self {
            Self::Equal(wanted) => wanted == topic,
            Self::Filter(wanted) => fits(wanted, levels, client, allows),
            Self::Mqtt(wanted) if allows => filters::covers(wanted, levels, client),
            Self::Mqtt(wanted) => filters::meets(wanted, levels, client),
        }
    }
}

/// As the original compares: level by level, the wildcards of a SUBSCRIBE being levels like others, `$SYS` too.
///
/// Where the original would give more than the rule says, it does not fit here: `a/+` does not allow a subscription
/// to `a/#`, and a name with `/`, `+` or `#` in it, or a `$` before it, never fills a `%c` or `%u` that allows, but any that
/// denies.
fn fits(wanted: &[Level], levels: &[&str], client: &Asker<'_>, allows: bool) -> bool {
    let mut levels = levels.iter();
    for level in wanted {
        if matches!(level, Level::Rest) {
            return true;
        }
        let Some(name) = levels.next() else { return false };
        if !level.fits(name, client, allows) {
            return false;
        }
    }
    levels.next().is_none()
}

impl Level {
    /// True if it stands for this one level, of a topic or of a filter.
    pub(super) fn fits(&self, name: &str, client: &Asker<'_>, allows: bool) -> bool {
        match self {
            Self::Name(wanted) => wanted == name,
            Self::Any => !(allows && name == "#"),
            Self::Rest => true,
            Self::User => fills(client.username, "%u", name, allows),
            Self::Client => fills(Some(client.client_id), "%c", name, allows),
            Self::Filled(template) => is_filled(template, name, client, allows),
        }
    }
}

fn is_filled(template: &str, name: &str, client: &Asker<'_>, allows: bool) -> bool {
    if template.contains("%u") && client.username.is_none() {
        return false;
    }
    let fills_user = template.contains("%u") && client.username.is_some_and(is_hostile);
    if fills_user || (template.contains("%c") && is_hostile(client.client_id)) {
        return !allows;
    }
    ClientInfo::fill(template, client.client_id, client.username) == name
}

fn fills(value: Option<&str>, word: &str, name: &str, allows: bool) -> bool {
    match value {
        // The word stays, as in the original: nobody has a topic like that but on purpose.
        None => name == word,
        Some(value) if is_hostile(value) => !allows,
        Some(value) => name == value,
    }
}

/// True for a name that is not one level as all others are: it would reach into the levels beside it, or into the topics of
/// the broker.
fn is_hostile(name: &str) -> bool {
    name.starts_with('$') || name.contains(['/', '+', '#'])
}

fn rule(term: &Term) -> Result<Rule, Problem> {
    let wrong = |problem: &str| Problem::new(term.line, problem);
    let Kind::Tuple(parts) = &term.kind else {
        let found = term.kind.describe();
        return Err(wrong(&format!("a rule begins with {{allow, or {{deny, and this is {found}")));
    };
    let allows = match parts.first().map(|first| &first.kind) {
        Some(Kind::Atom(word)) if word == "allow" => true,
        Some(Kind::Atom(word)) if word == "deny" => false,
        Some(other) => {
            let found = other.describe();
            let problem = format!("a rule begins with allow or deny, not with {found}");
            return Err(Problem::new(parts[0].line, problem));
        }
        None => return Err(wrong("a rule begins with allow or deny, and this is empty")),
    };
    match &parts[1..] {
        [who] => match &who.kind {
            Kind::Atom(word) if word == "all" => {
                let (publishes, subscribes) = (true, true);
                Ok(Rule { allows, who: Who::All, publishes, subscribes, topics: None })
            }
            _ => Err(Problem::new(who.line, "a rule of two parts is for all")),
        },
        [who_term, access, topics] => {
            let (publishes, subscribes) = self::access(access)?;
            let topics = Some(self::topics(topics)?);
            Ok(Rule { allows, who: who(who_term)?, publishes, subscribes, topics })
        }
        _ => Err(wrong(
            "a rule is {allow, all} or {allow, WHO, publish | subscribe | pubsub, [TOPIC, …]}",
        )),
    }
}

fn access(term: &Term) -> Result<(bool, bool), Problem> {
    let word = match &term.kind {
        Kind::Atom(word) => word.as_str(),
        _ => "",
    };
    match word {
        "publish" => Ok((true, false)),
        "subscribe" => Ok((false, true)),
        "pubsub" => Ok((true, true)),
        _ => {
            let found = term.kind.describe();
            let problem = format!("publish, subscribe or pubsub is expected, not {found}");
            Err(Problem::new(term.line, problem))
        }
    }
}

fn who(term: &Term) -> Result<Who, Problem> {
    let wrong = |problem: String| Err(Problem::new(term.line, problem));
    let pair = match &term.kind {
        Kind::Atom(word) if word == "all" => return Ok(Who::All),
        Kind::Tuple(parts) => match parts.as_slice() {
            [Term { kind: Kind::Atom(word), .. }, value] => Some((word.as_str(), value)),
            _ => None,
        },
        _ => None,
    };
    let Some((word, value)) = pair else {
        let found = term.kind.describe();
        return wrong(format!(
            "all, {{user, …}}, {{client, …}}, {{ipaddr, …}}, {{'and', […]}} or {{'or', […]}} is expected, not {found}"
        ));
    };
    match (word, &value.kind) {
        ("user" | "client", Kind::Atom(all)) if all == "all" => Ok(Who::All),
        ("user", Kind::Text(name) | Kind::Atom(name)) => Ok(Who::User(name.clone())),
        ("client", Kind::Text(id) | Kind::Atom(id)) => Ok(Who::Client(id.clone())),
        ("ipaddr", Kind::Text(block)) => match block.parse() {
            Ok(block) => Ok(Who::Address(block)),
            Err(problem) => Err(Problem::new(value.line, problem.to_string())),
        },
        ("and" | "or", Kind::List(parts)) if !parts.is_empty() => {
            let parts = parts.iter().map(who).collect::<Result<_, _>>()?;
            Ok(if word == "and" { Who::And(parts) } else { Who::Or(parts) })
        }
        ("and" | "or", _) => wrong(format!("{word} needs a list of whom it is about")),
        ("user" | "client" | "ipaddr", other) => {
            wrong(format!("{word} needs a text, not {}", other.describe()))
        }
        _ => wrong(format!("user, client, ipaddr, and, or is expected, not {word}")),
    }
}

fn topics(term: &Term) -> Result<Vec<Topic>, Problem> {
    match &term.kind {
        Kind::List(list) if !list.is_empty() => list.iter().map(topic_of).collect(),
        Kind::List(_) => Err(Problem::new(term.line, "a rule without topics is for nothing")),
        _ => topic_of(term).map(|topic| vec![topic]),
    }
}

fn topic_of(term: &Term) -> Result<Topic, Problem> {
    let wrong = |text: &str| Problem::new(term.line, format!("{text:?} is no Topic Filter"));
    match &term.kind {
        Kind::Text(text) => {
            topic::validate_filter(text).map_err(|_| wrong(text))?;
            Ok(Topic::Filter(text.split('/').map(level).collect()))
        }
        Kind::Tuple(parts) => match parts.as_slice() {
            [Term { kind: Kind::Atom(word), .. }, Term { kind: Kind::Text(text), .. }]
                if word == "eq" =>
            {
                topic::validate_filter(text).map_err(|_| wrong(text))?;
                Ok(Topic::Equal(text.clone()))
            }
            _ => Err(Problem::new(term.line, "a topic is a text or {eq, TEXT}")),
        },
        other => {
            let problem = format!("a topic is a text or {{eq, TEXT}}, not {}", other.describe());
            Err(Problem::new(term.line, problem))
        }
    }
}

fn level(text: &str) -> Level {
    match text {
        "+" => Level::Any,
        "#" => Level::Rest,
        "%u" => Level::User,
        "%c" => Level::Client,
        name => Level::Name(name.to_owned()),
    }
}
