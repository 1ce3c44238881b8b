//! What EMQ X has emqx_plugin_template for: an extension with a hook for each event, authentication and rights.
//!
//! Run with `cargo run -p broker-examples --example plugin_template`. Take out what you do not need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use anyhow::{Context, ensure};
use broker_core::extension::{
    Action, Answer, Authentication, Authenticator, Authorizer, Credentials, Extensions, Verdict,
};
use broker_core::observer::{
    Event, EventKind, EventKinds, EventObserver, EventWatch, MessageObserver, Reactions,
};
use broker_core::{Broker, ClientInfo, Message, ReasonCode};
use broker_net::config::ListenerConfig;
use broker_net::{Server, ServerOptions};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{Client, Connection, Event as ClientEvent, MqttOptions};

/// Hands on a line for each hook. Hooks run within the work of the client they are about: they must be quick.
struct Template(Sender<String>);

impl Template {
    fn tell(&self, line: String) {
        // Nobody listens any more once the program ends.
        let _ = self.0.send(line);
    }
}

/// `client.authenticate`: whoever calls himself a stranger is one; about others the next source is asked.
impl Authenticator for Template {
    fn authenticate(&self, credentials: &Arc<Credentials>) -> Answer<Authentication> {
        let username = credentials.username.as_deref().unwrap_or("undefined");
        self.tell(format!("client.authenticate {username}"));
        Answer::Now(match username {
            "stranger" => Authentication::Deny(ReasonCode::NotAuthorized),
            _ => Authentication::Ignore,
        })
    }
}

/// `client.check_acl`: what is secret is for nobody.
impl Authorizer for Template {
    fn authorize(&self, client: &Arc<ClientInfo>, action: Action, topic: &str) -> Answer<Verdict> {
        self.tell(format!("client.check_acl {} {action:?} {topic}", client.client_id));
        let is_secret = topic.starts_with("secret/");
        Answer::Now(if is_secret { Verdict::Deny } else { Verdict::Ignore })
    }
}

/// The other hooks but `message.publish`.
impl EventObserver for Template {
    fn observe(&self, event: &Event<'_>, _: &mut Reactions<'_>) {
        self.tell(match event {
            Event::Connected { client, .. } => format!("client.connected {}", client.client_id),
            Event::Refused { client, reason_code } => {
                format!("client.connack {} {reason_code:?}", client.client_id)
            }
            Event::Disconnected { client, reason, .. } => {
                format!("client.disconnected {} {reason}", client.client_id)
            }
            Event::SessionCreated { client } => format!("session.created {}", client.client_id),
            Event::SessionTerminated { client, reason } => {
                format!("session.terminated {} {reason}", client.client_id)
            }
            Event::Subscribing { client, filters } => {
                let filters: Vec<_> = filters.iter().map(|it| it.filter).collect();
                format!("client.subscribe {} {filters:?}", client.client_id)
            }
            Event::Unsubscribing { client, filters } => {
                format!("client.unsubscribe {} {filters:?}", client.client_id)
            }
            Event::Subscribed { client, subscription, .. } => {
                format!("session.subscribed {} {}", client.client_id, subscription.filter)
            }
            Event::Unsubscribed { client, subscription, .. } => {
                format!("session.unsubscribed {} {}", client.client_id, subscription.filter)
            }
            Event::Delivered { client, message, .. } => {
                format!("message.deliver {} {}", client.client_id, message.topic)
            }
            Event::Acked { client, message, .. } => {
                format!("message.acked {} {}", client.client_id, message.topic)
            }
            Event::Dropped { message, reason, .. } => {
                format!("message.dropped {} {reason}", message.topic)
            }
        });
    }
}

/// `message.publish`. An interceptor, as in `interceptor.rs`, could change the message.
impl MessageObserver for Template {
    fn observe(&self, message: &Arc<Message>, _: &mut Reactions<'_>) {
        self.tell(format!("message.publish {}", message.topic));
    }
}

const KINDS: [EventKind; 12] = [
    EventKind::Connected,
    EventKind::Refused,
    EventKind::Disconnected,
    EventKind::SessionCreated,
    EventKind::SessionTerminated,
    EventKind::Subscribing,
    EventKind::Unsubscribing,
    EventKind::Subscribed,
    EventKind::Unsubscribed,
    EventKind::Delivered,
    EventKind::Acked,
    EventKind::Dropped,
];

fn main() -> anyhow::Result<()> {
    let (sender, told) = channel();
    let template = Arc::new(Template(sender));
    let kinds = KINDS.into_iter().fold(EventKinds::NONE, EventKinds::with);
    let extensions = Extensions {
        authenticators: vec![Arc::clone(&template) as _],
        authorizers: vec![Arc::clone(&template) as _],
        event_watches: vec![EventWatch { kinds, observer: Arc::clone(&template) as _ }],
        ..Extensions::default()
    };
    let broker = Broker::builder().extensions(extensions).build()?;
    // Taken out of the router when this is dropped.
    let _observation = broker.observe("#", 0, template)?;
    let listeners = vec![ListenerConfig::tcp("template", "127.0.0.1:0".parse()?)];
    let server = Server::start(&broker, ServerOptions { listeners, ..Default::default() })?;
    let address: SocketAddr = server.listeners()[0].address.parse()?;

    let mut options = MqttOptions::new("c", address.ip().to_string(), address.port());
    options.set_credentials("bob", "any");
    let (client, mut connection) = Client::new(options, 10);
    client.subscribe("t/#", QoS::AtLeastOnce)?;
    until(&mut connection, |packet| matches!(packet, Packet::SubAck(_)))?;
    client.publish("t/1", QoS::AtLeastOnce, false, "x")?;
    client.publish("secret/1", QoS::AtLeastOnce, false, "x")?;
    client.publish("nobody/1", QoS::AtLeastOnce, false, "x")?;
    client.unsubscribe("t/#")?;
    until(&mut connection, |packet| matches!(packet, Packet::UnsubAck(_)))?;
    client.disconnect()?;
    // It ends as it was asked to.
    while connection.recv().is_ok_and(|event| event.is_ok()) {}

    let mut options = MqttOptions::new("d", address.ip().to_string(), address.port());
    options.set_credentials("stranger", "any");
    let (_client, mut connection) = Client::new(options, 10);
    ensure!(until(&mut connection, |_| false).is_err(), "strangers are refused");

    let mut missing = vec![
        "client.authenticate bob",
        "client.connected c",
        "client.check_acl c",
        "client.subscribe c",
        "session.subscribed c t/#",
        "message.publish t/1",
        "message.deliver c t/1",
        "message.acked c t/1",
        "message.dropped nobody/1",
        "client.unsubscribe c",
        "session.unsubscribed c t/#",
        "client.disconnected c",
        "client.authenticate stranger",
        "client.connack d",
    ];
    while !missing.is_empty() {
        let line = told.recv_timeout(Duration::from_secs(10));
        let line = line.with_context(|| format!("not told of: {missing:?}"))?;
        println!("{line}");
        missing.retain(|hook| !line.starts_with(hook));
    }
    server.shut_down(Duration::from_secs(5));
    Ok(())
}

/// Reads packets until there is one of these.
fn until(connection: &mut Connection, is_it: impl Fn(&Packet) -> bool) -> anyhow::Result<()> {
    for event in connection.iter() {
        if let ClientEvent::Incoming(packet) = event?
            && is_it(&packet)
        {
            return Ok(());
        }
    }
    anyhow::bail!("the connection ended")
}
