//! PacketProperties: the MQTT 5.0 properties that `-D` adds to the packets of a client.

use anyhow::{Context, Result, bail, ensure};
use broker_codec::{PropertiesBuf, Property};

/// Properties by the packet that carries them.
#[derive(Debug, Clone, Default)]
pub(crate) struct PacketProperties {
    pub(crate) connect: PropertiesBuf,
    pub(crate) will: PropertiesBuf,
    pub(crate) publish: PropertiesBuf,
    pub(crate) subscribe: PropertiesBuf,
    pub(crate) unsubscribe: PropertiesBuf,
    pub(crate) disconnect: PropertiesBuf,
}

impl PacketProperties {
    /// Reads the values of all `-D` flags in a row: command, name, value, and for a user-property
    /// the key before the value.
    pub(crate) fn parse(words: &[String]) -> Result<Self> {
        let mut all = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(command) = words.next() {
            let name = words.next().context("property name is missing")?;
            let flag = || format!("-D {command} {name}");
            let value = words.next().with_context(|| format!("{}: value is missing", flag()))?;
            let property = if name == "user-property" {
                let missing = || format!("{}: key and value are needed", flag());
                Property::UserProperty(value, words.next().with_context(missing)?)
            } else {
                property(name, value).with_context(flag)?
            };
            let allowed = allowed_in(command).with_context(flag)?;
            ensure!(allowed.contains(&name), "{}: {command} has no such property", flag());
            all.push(command, property).with_context(flag)?;
        }
        Ok(all)
    }

    fn push(&mut self, command: &str, property: Property<'_>) -> Result<()> {
        let buf = match command {
            "connect" => &mut self.connect,
            "will" => &mut self.will,
            "publish" => &mut self.publish,
            "subscribe" => &mut self.subscribe,
            "unsubscribe" => &mut self.unsubscribe,
            _ => &mut self.disconnect,
        };
        let id = property.id();
        let is_repeated = buf.as_properties().iter().any(|it| it.id() == id);
        let may_repeat = matches!(property, Property::UserProperty(..));
        ensure!(!is_repeated || may_repeat, "given twice");
        let mut one = PropertiesBuf::new();
        one.push(property);
        PropertiesBuf::from_bytes(one.as_properties().as_bytes().to_vec())?;
        buf.push(property);
        Ok(())
    }
}

/// The property called `name` with the value that `text` stands for.
fn property<'a>(name: &str, text: &'a str) -> Result<Property<'a>> {
    Ok(match name {
        "payload-format-indicator" => Property::PayloadFormatIndicator(number(text)?),
        "message-expiry-interval" => Property::MessageExpiryInterval(number(text)?),
        "content-type" => Property::ContentType(text),
        "response-topic" => Property::ResponseTopic(text),
        "correlation-data" => Property::CorrelationData(text.as_bytes()),
        "subscription-identifier" => Property::SubscriptionIdentifier(number(text)?),
        "session-expiry-interval" => Property::SessionExpiryInterval(number(text)?),
        "authentication-method" => Property::AuthenticationMethod(text),
        "authentication-data" => Property::AuthenticationData(text.as_bytes()),
        "request-problem-information" => Property::RequestProblemInformation(number(text)?),
        "will-delay-interval" => Property::WillDelayInterval(number(text)?),
        "request-response-information" => Property::RequestResponseInformation(number(text)?),
        "reason-string" => Property::ReasonString(text),
        "receive-maximum" => Property::ReceiveMaximum(number(text)?),
        "topic-alias-maximum" => Property::TopicAliasMaximum(number(text)?),
        "topic-alias" => Property::TopicAlias(number(text)?),
        "maximum-packet-size" => Property::MaximumPacketSize(number(text)?),
        _ => bail!("unknown property"),
    })
}

fn number<T>(text: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    text.parse().with_context(|| format!("value '{text}'"))
}

/// Properties that the packets of a client can have (MQTT 5.0, table 2-4).
fn allowed_in(command: &str) -> Result<&'static [&'static str]> {
    Ok(match command {
        "connect" => &[
            "authentication-data",
            "authentication-method",
            "maximum-packet-size",
            "receive-maximum",
            "request-problem-information",
            "request-response-information",
            "session-expiry-interval",
            "topic-alias-maximum",
            "user-property",
        ],
        "publish" => &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "topic-alias",
            "user-property",
        ],
        "subscribe" => &["subscription-identifier", "user-property"],
        "unsubscribe" => &["user-property"],
        "disconnect" => &["reason-string", "session-expiry-interval", "user-property"],
        "will" => &[
            "content-type",
            "correlation-data",
            "message-expiry-interval",
            "payload-format-indicator",
            "response-topic",
            "user-property",
            "will-delay-interval",
        ],
        _ => bail!(
            "'{command}' is none of connect, will, publish, subscribe, unsubscribe, disconnect"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PacketProperties> {
        PacketProperties::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn properties_go_to_their_packets() {
        let all = parse(
            "connect session-expiry-interval 60 publish user-property k v \
             publish user-property k w will will-delay-interval 3 subscribe subscription-identifier 5",
        )
        .unwrap();
        let connect: Vec<_> = all.connect.as_properties().iter().collect();
        assert_eq!(connect, [Property::SessionExpiryInterval(60)]);
        let publish: Vec<_> = all.publish.as_properties().iter().collect();
        assert_eq!(publish, [Property::UserProperty("k", "v"), Property::UserProperty("k", "w")]);
        assert_eq!(all.will.as_properties().will_delay_interval(), Some(3));
        let ids: Vec<_> = all.subscribe.as_properties().subscription_identifiers().collect();
        assert_eq!(ids, [5]);
    }

    #[test]
    fn refusal_names_the_flag() {
        for (words, expected) in [
            ("connect", "property name is missing"),
            ("connect receive-maximum", "-D connect receive-maximum: value is missing"),
            ("publish user-property k", "-D publish user-property: key and value are needed"),
            ("publish nonsense 1", "-D publish nonsense: unknown property"),
            (
                "publish receive-maximum 1",
                "-D publish receive-maximum: publish has no such property",
            ),
            (
                "greet content-type x",
                "-D greet content-type: 'greet' is none of connect, will, publish, subscribe, \
                 unsubscribe, disconnect",
            ),
            (
                "connect receive-maximum 70000",
                "-D connect receive-maximum: value '70000': number too large to fit in target type",
            ),
            (
                "connect receive-maximum 0",
                "-D connect receive-maximum: value of property ReceiveMaximum out of range",
            ),
            (
                "publish content-type a publish content-type b",
                "-D publish content-type: given twice",
            ),
        ] {
            assert_eq!(format!("{:#}", parse(words).unwrap_err()), expected, "{words}");
        }
    }
}
