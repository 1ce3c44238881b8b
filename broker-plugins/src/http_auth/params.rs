//! Parameters of requests: names, and what of a client stands for their values.

use std::fmt;
use std::net::IpAddr;

use broker_core::extension::Action;
use broker_core::{Certificate, ClientId};
use broker_rules::http::percent_encode;

/// `clientid=%c,username=%u`: names and values, of which some are filled in for each client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpParams(Vec<(String, Value)>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    /// A placeholder, and how it was written.
    Fact(Fact, &'static str),
    /// Sent as it is.
    Text(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fact {
    Username,
    ClientId,
    Address,
    Password,
    CommonName,
    Subject,
    Access,
    Topic,
    Mountpoint,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Auth,
    Superuser,
    Acl,
}

/// What is known when a request is made.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) client_id: &'a ClientId,
    pub(super) username: Option<&'a str>,
    pub(super) password: Option<&'a [u8]>,
    pub(super) address: Option<IpAddr>,
    pub(super) certificate: Option<&'a Certificate>,
    /// What the client wants to do, its topic and its mountpoint.
    pub(super) right: Option<(Action, &'a str, &'a str)>,
}

impl HttpParams {
    /// Reads names and values.
    ///
    /// # Errors
    /// One of them has no name, or is one that cannot be filled in.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut params = Vec::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("{pair:?}: <name>=<value> is expected"));
            };
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() {
                return Err(format!("{pair:?}: has no name"));
            }
            if value == "%l" {
                return Err(format!("{pair:?}: the port of the listener is not known here"));
            }
            let value = match PLACEHOLDERS.iter().find(|(word, _)| *word == value) {
                Some((word, fact)) => Value::Fact(*fact, word),
                None => Value::Text(value.to_owned()),
            };
            params.push((name.to_owned(), value));
        }
        Ok(Self(params))
    }

    /// Whether all of them are known where a request has this purpose.
    pub(super) fn check(&self, purpose: Purpose) -> Result<(), String> {
        for (name, value) in &self.0 {
            let Value::Fact(fact, word) = value else { continue };
            let (is_known, place) = match fact {
                Fact::Password => (purpose == Purpose::Auth, "auth_req"),
                Fact::Access | Fact::Topic | Fact::Mountpoint => {
                    (purpose == Purpose::Acl, "acl_req")
                }
                _ => (true, ""),
            };
            if !is_known {
                return Err(format!("\"{name}={word}\": {word} is for {place} only"));
            }
        }
        Ok(())
    }

    /// As a query or form. Whatever a client is called, it adds no parameter.
    pub(super) fn encode(&self, facts: &Facts<'_>) -> String {
        let mut out = String::new();
        for (name, value) in &self.0 {
            if !out.is_empty() {
                out.push('&');
            }
            percent_encode(&mut out, name.as_bytes());
            out.push('=');
            match value {
                Value::Text(text) => percent_encode(&mut out, text.as_bytes()),
                Value::Fact(fact, _) => fact.encode(&mut out, facts),
            }
        }
        out
    }
}

impl fmt::Display for HttpParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (name, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let value = match value {
                Value::Fact(_, word) => word,
                Value::Text(text) => text.as_str(),
            };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

impl Fact {
    fn encode(self, out: &mut String, facts: &Facts<'_>) {
        let certificate = facts.certificate;
        let text = match self {
            Self::Username => facts.username,
            Self::ClientId => Some(facts.client_id.as_str()),
            Self::CommonName => certificate.and_then(|it| it.common_name.as_deref()),
            Self::Subject => certificate.and_then(|it| it.subject.as_deref()),
            Self::Topic => facts.right.map(|(_, topic, _)| topic),
            Self::Mountpoint => facts.right.map(|(_, _, mountpoint)| mountpoint),
            Self::Access => facts.right.map(|(action, ..)| match action {
                Action::Subscribe => "1",
                Action::Publish => "2",
            }),
            Self::Password => {
                return percent_encode(out, facts.password.unwrap_or(UNDEFINED.as_bytes()));
            }
            Self::Address => {
                let address = facts.address.map(|it| it.to_canonical().to_string());
                return percent_encode(out, address.as_deref().unwrap_or(UNDEFINED).as_bytes());
            }
        };
        percent_encode(out, text.unwrap_or(UNDEFINED).as_bytes());
    }
}

/// Those of 3.1.0 and of its manual.
const PLACEHOLDERS: [(&str, Fact); 11] = [
    ("%u", Fact::Username),
    ("%c", Fact::ClientId),
    ("%a", Fact::Address),
    ("%P", Fact::Password),
    ("%cn", Fact::CommonName),
    ("%C", Fact::CommonName),
    ("%dn", Fact::Subject),
    ("%d", Fact::Subject),
    ("%A", Fact::Access),
    ("%t", Fact::Topic),
    ("%m", Fact::Mountpoint),
];

/// What the original sends for what it does not know.
const UNDEFINED: &str = "undefined";
