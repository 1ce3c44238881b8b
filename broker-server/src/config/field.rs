//! Between a key's value and the type of the field it fills, in both directions.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use broker_codec::{QoS, topic};
use broker_core::config::{Anonymous, Rate, RewriteRule, SharedStrategy, WillsKeep};
use broker_core::store::Level;
use broker_net::config::{
    AccessRule, Bind, Cidr, CrlCheck, OcspCheck, OcspResponder, OcspStapling, PeerCertField,
    PskCipher,
};
use broker_plugins::{HookRule, HttpMethod, HttpParams, PayloadEncoding, TokenFrom};
use log::LevelFilter;

use super::store::{OnDamage, OnFailure};
use super::table::check_url;
use super::value::{Value, parse_duration, parse_size, quote, show_duration, show_size};
use super::{LogFormat, LogTarget, MemoryLimit};
use crate::auth::scram::{Hash, Verifier};

/// Why a field does not take a value.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    /// Which item of a list or table.
    pub(crate) item: Option<usize>,
    /// What is wrong with it.
    pub(crate) detail: String,
}

/// A type that keys fill.
pub(crate) trait Field: Sized {
    fn show(&self) -> Value;
    fn parse(value: Value) -> Result<Self, Vec<Refusal>>;
}

/// One text, alone or in a list.
pub(crate) trait Word: Sized {
    fn to_word(&self) -> String;
    fn from_word(word: &str) -> Result<Self, String>;
}

pub(crate) fn refuse<T>(detail: impl Into<String>) -> Result<T, Vec<Refusal>> {
    Err(vec![Refusal { item: None, detail: detail.into() }])
}

/// A value of another form than its key's kind: a mistake in the table, which its own test would find.
fn mismatch<T>() -> Result<T, Vec<Refusal>> {
    refuse("has a form this key does not take")
}

impl Field for bool {
    fn show(&self) -> Value {
        Value::Flag(*self)
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        if let Value::Flag(flag) = value { Ok(flag) } else { mismatch() }
    }
}

/// Not set, it is the machine's own clients.
impl Field for Anonymous {
    fn show(&self) -> Value {
        match self {
            Self::All => Value::Flag(true),
            Self::Nobody => Value::Flag(false),
            Self::Local => Value::Unset,
        }
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        match value {
            Value::Flag(true) => Ok(Self::All),
            Value::Flag(false) => Ok(Self::Nobody),
            Value::Unset => Ok(Self::Local),
            _ => mismatch(),
        }
    }
}

impl Field for f64 {
    fn show(&self) -> Value {
        Value::Decimal(*self)
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        if let Value::Decimal(number) = value { Ok(number) } else { mismatch() }
    }
}

macro_rules! number_field {
    ($($type:ty)+) => {$(
        impl Field for $type {
            fn show(&self) -> Value {
                u64::try_from(*self).map_or(Value::Unset, Value::Number)
            }

            fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
                match value {
                    Value::Number(number) => {
                        Self::try_from(number).or_else(|_| refuse("is too large for this machine"))
                    }
                    _ => mismatch(),
                }
            }
        }
    )+};
}
number_field!(u8 u16 u32 u64 usize);

impl<T: Field> Field for Option<T> {
    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Unset, T::show)
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        match value {
            Value::Unset => Ok(None),
            value => T::parse(value).map(Some),
        }
    }
}

impl Field for QoS {
    fn show(&self) -> Value {
        Value::Number(*self as u64)
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        match value {
            Value::Number(0) => Ok(Self::AtMostOnce),
            Value::Number(1) => Ok(Self::AtLeastOnce),
            Value::Number(2) => Ok(Self::ExactlyOnce),
            _ => mismatch(),
        }
    }
}

/// Fields that are one word.
macro_rules! word_field {
    ($($type:ty)+) => {$(
        impl Field for $type {
            fn show(&self) -> Value {
                Value::Text(self.to_word())
            }

            fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
                match value {
                    Value::Text(text) => Self::from_word(&text).or_else(refuse),
                    _ => mismatch(),
                }
            }
        }
    )+};
}
word_field!(String PathBuf LevelFilter LogFormat LogTarget SharedStrategy PeerCertField Pair CrlCheck OcspStapling);
word_field!(OcspCheck OcspResponder PskCipher MemoryLimit Rate Level OnDamage OnFailure WillsKeep TokenFrom HttpMethod HttpParams PayloadEncoding);

impl<T: Word> Field for Vec<T> {
    fn show(&self) -> Value {
        Value::List(self.iter().map(T::to_word).collect())
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        let Value::List(words) = value else { return mismatch() };
        let mut items = Self::new();
        let mut refusals = Vec::new();
        for (i, word) in words.iter().enumerate() {
            match T::from_word(word) {
                Ok(item) => items.push(item),
                Err(detail) => refusals.push(Refusal { item: Some(i), detail }),
            }
        }
        if refusals.is_empty() { Ok(items) } else { Err(refusals) }
    }
}

impl<T: Word> Field for BTreeMap<String, T> {
    fn show(&self) -> Value {
        Value::Map(self.iter().map(|(name, item)| (name.clone(), item.to_word())).collect())
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        let Value::Map(entries) = value else { return mismatch() };
        let mut items = Self::new();
        let mut refusals = Vec::new();
        for (i, (name, word)) in entries.into_iter().enumerate() {
            match T::from_word(&word) {
                Ok(item) => {
                    items.insert(name, item);
                }
                Err(detail) => refusals.push(Refusal { item: Some(i), detail }),
            }
        }
        if refusals.is_empty() { Ok(items) } else { Err(refusals) }
    }
}

impl<H: Hash> Word for Verifier<H> {
    /// The stored form: no password is ever shown.
    fn to_word(&self) -> String {
        self.to_text()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        Self::from_text(word)
    }
}

impl Word for String {
    fn to_word(&self) -> String {
        self.clone()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        Ok(word.to_owned())
    }
}

impl Word for PathBuf {
    fn to_word(&self) -> String {
        self.display().to_string()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        if word.is_empty() { Err("is empty".into()) } else { Ok(word.into()) }
    }
}

impl Word for OcspStapling {
    fn to_word(&self) -> String {
        match self {
            Self::Fetch => "fetch".into(),
            Self::File(path) => path.to_word(),
        }
    }

    fn from_word(word: &str) -> Result<Self, String> {
        if word == "fetch" { Ok(Self::Fetch) } else { PathBuf::from_word(word).map(Self::File) }
    }
}

impl Word for PskCipher {
    fn to_word(&self) -> String {
        self.name().into()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        Self::named(word).ok_or_else(|| "is no cipher suite with a pre-shared key".into())
    }
}

impl Word for OcspResponder {
    fn to_word(&self) -> String {
        match self {
            Self::Certificate => "certificate".into(),
            Self::Url(url) => url.clone(),
        }
    }

    fn from_word(word: &str) -> Result<Self, String> {
        if word == "certificate" {
            return Ok(Self::Certificate);
        }
        check_url(word).map(|()| Self::Url(word.to_owned())).map_err(str::to_owned)
    }
}

impl Word for HttpParams {
    fn to_word(&self) -> String {
        self.to_string()
    }

    fn from_word(word: &str) -> Result<Self, String> {
        Self::parse(word)
    }
}

impl Word for LevelFilter {
    fn to_word(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }

    /// Our levels and the original's, each of which becomes the nearest of ours.
    fn from_word(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Self::Off),
            "error" | "critical" | "alert" | "emergency" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" | "notice" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err("is no level".into()),
        }
    }
}

/// Words that stand for the variants of an enum.
macro_rules! enum_words {
    ($type:ident: $($variant:ident = $word:literal),+ $(,)?) => {
        impl Word for $type {
            fn to_word(&self) -> String {
                match self { $(Self::$variant => $word.into(),)+ }
            }

            fn from_word(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err("is none of these".into()),
                }
            }
        }
    };
}
enum_words!(LogFormat: Text = "text", Json = "json");
enum_words!(OcspCheck: Off = "off", Soft = "soft", Hard = "hard");
enum_words!(CrlCheck: Chain = "chain", Peer = "peer", BestEffort = "best_effort");
enum_words!(PeerCertField: Cn = "cn", Dn = "dn", Crt = "crt");
enum_words!(HttpMethod: Get = "get", Post = "post");
enum_words!(PayloadEncoding: Text = "undefined", Base64 = "base64", Base62 = "base62");
enum_words!(SharedStrategy: Random = "random", RoundRobin = "round_robin", Sticky = "sticky",
    Hash = "hash", HashTopic = "hash_topic");
enum_words!(Level: Memory = "memory", Written = "written", Fsync = "fsync");
enum_words!(OnDamage: Start = "start", Stop = "stop");
enum_words!(OnFailure: ReadOnly = "read_only", Exit = "exit");
enum_words!(TokenFrom: Password = "password", Username = "username");
enum_words!(WillsKeep: Nobody = "none", Durable = "durable", Retained = "retained", All = "all");

impl Word for LogTarget {
    fn to_word(&self) -> String {
        match self {
            Self::Console => "console".into(),
            Self::Off => "off".into(),
        }
    }

    fn from_word(word: &str) -> Result<Self, String> {
        match word {
            "console" | "file" | "both" => Ok(Self::Console),
            "off" => Ok(Self::Off),
            _ => Err("is none of these".into()),
        }
    }
}

impl Word for AccessRule {
    fn to_word(&self) -> String {
        let action = if self.allow { "allow" } else { "deny" };
        match &self.peer {
            None => format!("{action} all"),
            Some(peer) => format!("{action} {}", peer.to_word()),
        }
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let mut parts = word.split_whitespace();
        let allow = match parts.next() {
            Some("allow") => true,
            Some("deny") => false,
            _ => return Err("starts with neither \"allow\" nor \"deny\"".into()),
        };
        let peer = match parts.next() {
            Some("all") => None,
            Some(cidr) => Some(Cidr::from_word(cidr)?),
            None => return Err("names no address".into()),
        };
        match parts.next() {
            None => Ok(Self { allow, peer }),
            Some(more) => Err(format!("goes on after the address: {more}")),
        }
    }
}

impl Word for Cidr {
    fn to_word(&self) -> String {
        if self.prefix == bits(self.addr) {
            self.addr.to_string()
        } else {
            format!("{}/{}", self.addr, self.prefix)
        }
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let (addr, prefix) = match word.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (word, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| format!("{addr} is no IP address"))?;
        let prefix = match prefix {
            None => bits(addr),
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= bits(addr))
                .ok_or_else(|| format!("{prefix} is no prefix from 0 to {}", bits(addr)))?,
        };
        Ok(Self { addr, prefix })
    }
}

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// `port`, `ip:port`, `[ip6]:port`; also `ip6:port` as the original writes it. A port alone is one of
/// all IPv4 addresses.
pub(crate) fn parse_address(text: &str) -> Result<Bind, String> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("", text));
    let port = port.parse().map_err(|_| format!("{} is no port", quote(port)))?;
    let ip = match host {
        "" => return Ok(Bind::Port(port)),
        host => match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(host) => IpAddr::V6(host.parse::<Ipv6Addr>().map_err(|_| no_address(host))?),
            None => host.parse().map_err(|_| no_address(host))?,
        },
    };
    Ok(Bind::Inet(SocketAddr::new(ip, port)))
}

fn no_address(host: &str) -> String {
    format!("{host} is no IP address")
}

/// `10,1m`: a count and an interval in milliseconds, both above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair(pub(crate) u32, pub(crate) u64);

impl Word for Pair {
    fn to_word(&self) -> String {
        format!("{},{}", self.0, show_duration(self.1))
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let (count, interval) = word.split_once(',').ok_or("has no comma")?;
        let count = count.trim().parse().ok().filter(|count| *count > 0);
        let interval = parse_duration(interval).filter(|interval| *interval > 0);
        match (count, interval) {
            (Some(count), Some(interval)) => Ok(Self(count, interval)),
            (None, _) => Err("the count is no whole number above 0".into()),
            (_, None) => Err("the interval is no duration above 0".into()),
        }
    }
}

/// `64MB`, `70%`.
impl Word for MemoryLimit {
    fn to_word(&self) -> String {
        match self {
            Self::Bytes(bytes) => show_size(*bytes),
            Self::Percent(percent) => format!("{percent}%"),
        }
    }

    fn from_word(word: &str) -> Result<Self, String> {
        if let Some(percent) = word.trim().strip_suffix('%') {
            let percent = percent.trim_end().parse().ok().filter(|n| (1..=100).contains(n));
            return percent
                .map(Self::Percent)
                .ok_or_else(|| "is no percentage from 1 to 100".into());
        }
        match parse_size(word) {
            Some(bytes) if bytes == 0 || bytes >= MEMORY_MIN => Ok(Self::Bytes(bytes)),
            Some(_) => Err(format!("is below {}", show_size(MEMORY_MIN))),
            None => Err("is neither a size nor a percentage".into()),
        }
    }
}

/// Less would refuse the first client.
const MEMORY_MIN: u64 = 1 << 20;

/// `1000,1s`, `1MB,10s`: an amount and its time.
impl Word for Rate {
    fn to_word(&self) -> String {
        format!("{},{}", self.amount, show_duration(self.interval_ns / 1_000_000))
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let (amount, interval) = word.split_once(',').ok_or("has no comma")?;
        let amount = parse_size(amount).filter(|amount| *amount > 0);
        let interval_ms = parse_duration(interval).filter(|interval| *interval > 0);
        match (amount, interval_ms) {
            (Some(amount), Some(interval_ms)) => Ok(Self::in_ms(amount, interval_ms)),
            (None, _) => Err("the amount is no whole number above 0".into()),
            (_, None) => Err("the interval is no duration above 0".into()),
        }
    }
}

/// `mqueue_priorities`: `topic=priority` with commas between.
impl Field for BTreeMap<String, u8> {
    fn show(&self) -> Value {
        if self.is_empty() {
            return Value::Unset;
        }
        let entries: Vec<_> = self.iter().map(|(topic, p)| format!("{topic}={p}")).collect();
        Value::Text(entries.join(","))
    }

    fn parse(value: Value) -> Result<Self, Vec<Refusal>> {
        let text = match value {
            Value::Unset => return Ok(Self::new()),
            Value::Text(text) => text,
            _ => return mismatch(),
        };
        let mut priorities = Self::new();
        for entry in text.split(',').map(str::trim) {
            let Some((topic, priority)) = entry.rsplit_once('=') else {
                return refuse(format!("{entry} has no ="));
            };
            let topic = topic.trim();
            if let Err(detail) = check_topic_name(topic) {
                return refuse(detail);
            }
            let Some(priority) = priority.trim().parse().ok().filter(|priority| *priority > 0)
            else {
                return refuse(format!("the priority of {topic} is not 1 to 255"));
            };
            if priorities.insert(topic.to_owned(), priority).is_some() {
                return refuse(format!("{topic} is there twice"));
            }
        }
        Ok(priorities)
    }
}

impl Word for HookRule {
    fn to_word(&self) -> String {
        serde_json::to_string(self).expect("two texts are JSON")
    }

    fn from_word(word: &str) -> Result<Self, String> {
        serde_json::from_str(word).map_err(|error| error.to_string())
    }
}

impl Word for RewriteRule {
    fn to_word(&self) -> String {
        format!("{} {} {}", self.filter, self.pattern, self.target)
    }

    fn from_word(word: &str) -> Result<Self, String> {
        let parts: Vec<_> = word.split_whitespace().collect();
        let [filter, pattern, target] = parts[..] else {
            return Err(format!("has {} parts instead of 3", parts.len()));
        };
        check_topic_filter(filter)?;
        // What regex-lite reads, every engine of the regex family reads.
        let regex = regex_lite::Regex::new(pattern)
            .map_err(|error| format!("{pattern} is no regular expression: {error}"))?;
        if let Some(group) = highest_group(target)
            && group >= regex.captures_len()
        {
            return Err(format!("{target} names group ${group}, which {pattern} does not have"));
        }
        Ok(Self { filter: filter.into(), pattern: pattern.into(), target: target.into() })
    }
}

/// The highest of `$1` to `$9`.
fn highest_group(target: &str) -> Option<usize> {
    let digits = target.split('$').skip(1).filter_map(|after| after.chars().next()?.to_digit(10));
    digits.max().map(|digit| digit as usize)
}

/// A Topic Name.
pub(crate) fn check_topic_name(name: &str) -> Result<(), String> {
    topic::validate_name(name).map_err(|error| format!("{}: {error}", quote(name)))
}

/// A Topic Filter.
pub(crate) fn check_topic_filter(filter: &str) -> Result<(), String> {
    topic::validate_filter(filter).map_err(|error| format!("{}: {error}", quote(filter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_the_originals_forms() {
        for (text, address) in [
            ("1883", "1883"),
            ("127.0.0.1:11883", "127.0.0.1:11883"),
            ("[::1]:1883", "[::1]:1883"),
            ("::1:1883", "[::1]:1883"),
            ("0", "0"),
        ] {
            assert_eq!(parse_address(text).unwrap().to_string(), address);
        }
        for text in ["", "localhost:1883", "65536", "127.0.0.1", "1.2.3.4:", "[1.2.3.4]:1", "-1"] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    fn check_word<T: Word>(text: &str, expected: Result<&str, &str>) {
        let got = T::from_word(text).map(|word| word.to_word());
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn access_rules() {
        for text in ["allow all", "deny all", "allow 10.0.0.0/8", "deny ::1", "allow fe80::/10"] {
            check_word::<AccessRule>(text, Ok(text));
        }
        check_word::<AccessRule>("allow 10.0.0.1/32", Ok("allow 10.0.0.1"));
        check_word::<AccessRule>("permit all", Err("starts with neither \"allow\" nor \"deny\""));
        check_word::<AccessRule>("allow", Err("names no address"));
        check_word::<AccessRule>("allow 10.0.0.0/33", Err("33 is no prefix from 0 to 32"));
        check_word::<AccessRule>("allow lan", Err("lan is no IP address"));
        check_word::<AccessRule>("allow all x", Err("goes on after the address: x"));
    }

    #[test]
    fn rewrite_rules() {
        check_word::<RewriteRule>("x/# ^x/y/(.+)$ z/y/$1", Ok("x/# ^x/y/(.+)$ z/y/$1"));
        check_word::<RewriteRule>("x/# ^x$", Err("has 2 parts instead of 3"));
        check_word::<RewriteRule>(
            "x/#/y ^x$ z",
            Err("\"x/#/y\": '#' is not alone in the last level at byte 2"),
        );
        check_word::<RewriteRule>(
            "x ^x/(.+)$ z/$2",
            Err("z/$2 names group $2, which ^x/(.+)$ does not have"),
        );
        assert!(RewriteRule::from_word("x ( z").unwrap_err().starts_with("( is no regular"));
    }

    #[test]
    fn pairs_and_priorities() {
        check_word::<Pair>("10, 1m", Ok("10,1m"));
        check_word::<Pair>("10", Err("has no comma"));
        check_word::<Pair>("0,1m", Err("the count is no whole number above 0"));
        check_word::<MemoryLimit>("64MB", Ok("64MB"));
        check_word::<MemoryLimit>("70 %", Ok("70%"));
        check_word::<MemoryLimit>("0", Ok("0B"));
        check_word::<MemoryLimit>("101%", Err("is no percentage from 1 to 100"));
        check_word::<MemoryLimit>("1KB", Err("is below 1MB"));
        check_word::<MemoryLimit>("much", Err("is neither a size nor a percentage"));
        check_word::<Rate>("10, 1m", Ok("10,1m"));
        check_word::<Rate>("1MB,10s", Ok("1048576,10s"));
        check_word::<Rate>("10", Err("has no comma"));
        check_word::<Rate>("0,1m", Err("the amount is no whole number above 0"));
        check_word::<Rate>("1,1", Err("the interval is no duration above 0"));
        check_word::<Pair>("1,1", Err("the interval is no duration above 0"));
        let parse = |text: &str| BTreeMap::<String, u8>::parse(Value::Text(text.into()));
        assert_eq!(parse("a/b=1, c=255").unwrap().show(), Value::Text("a/b=1,c=255".into()));
        assert!(parse("a=0").is_err());
        assert!(parse("a=256").is_err());
        assert!(parse("a").is_err());
        assert!(parse("a=1,a=2").is_err());
        assert!(parse("a/#=1").is_err());
    }
}
