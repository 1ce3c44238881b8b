//! Keys that say what a packet may be, and what CONNACK announces.

use crate::Case;
use crate::broker::elsewhere;
use crate::case;
use crate::client::{connect, unique_id, unique_topic, v5, v311};
use crate::wire::{Prop, V5, publish};

pub(crate) const CASES: &[Case] = &[
    case("max_packet_size", "\"1KB\"", max_packet_size),
    case("max_clientid_len", "24", max_clientid_len),
    case("max_topic_levels", "2", max_topic_levels),
    case("max_qos_allowed", "1", max_qos_allowed),
    case("max_topic_alias", "3", max_topic_alias),
    case("retain_available", "false", retain_available),
    case("wildcard_subscription", "false", wildcard_subscription),
    case("shared_subscription", "false", shared_subscription),
    case("max_subscriptions", "1", max_subscriptions),
    case("ignore_loop_deliver", "true", ignore_loop_deliver),
    case("strict_mode", "true", strict_mode),
    case("upgrade_qos", "true", upgrade_qos),
    case("mountpoint", "\"plant/%c/\"", mountpoint),
    case("response_information", "\"answers/%c\"", response_information),
];

fn max_packet_size() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::MaximumPacketSize(1024)));
    client.publish(publish(&unique_topic(), 1, "x".repeat(900)));
    client.send_publish(&publish(&unique_topic(), 0, "x".repeat(1024)));
    client.expect_disconnect(&[0x95]);
}

fn max_clientid_len() {
    let id = format!("{:x<25}", unique_id());
    v5().id(&id[..24]).open();
    v5().id(&id).begin().expect_connack(0x85);
}

fn max_topic_levels() {
    let codes = v5().open().subscribe_many(&[("a/b", 1), ("a/b/c", 1)], &[]);
    assert_eq!(codes, [1, 0x8F]);
}

fn max_qos_allowed() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::MaximumQoS(1)));
    assert_eq!(client.subscribe_many(&[(&unique_topic(), 2)], &[]), [1]);
    client.send_publish(&publish(&unique_topic(), 2, "x").id(9));
    client.expect_disconnect(&[0x9B]);
}

fn max_topic_alias() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::TopicAliasMaximum(3)));
    client.publish(publish(&unique_topic(), 1, "x").prop(Prop::TopicAlias(3)));
    client.send_publish(&publish(&unique_topic(), 1, "x").id(9).prop(Prop::TopicAlias(4)));
    client.expect_disconnect(&[0x94]);
}

fn retain_available() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::RetainAvailable(0)));
    client.send_publish(&publish(&unique_topic(), 1, "x").id(9).retain());
    client.expect_disconnect(&[0x9A]);
}

fn wildcard_subscription() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::WildcardSubscriptionAvailable(0)));
    assert_eq!(client.subscribe_many(&[("a/+", 1), ("a/b", 1)], &[]), [0xA2, 1]);
}

fn shared_subscription() {
    let mut client = v5().open();
    assert!(client.props.0.contains(&Prop::SharedSubscriptionAvailable(0)));
    assert_eq!(client.subscribe_many(&[("$share/g/a", 1)], &[]), [0x9E]);
}

fn max_subscriptions() {
    assert_eq!(v5().open().subscribe_many(&[("a", 1), ("b", 1)], &[]), [1, 0x97]);
}

fn ignore_loop_deliver() {
    let topic = unique_topic();
    let mut client = v311().open();
    client.subscribe(&topic, 1);
    connect(V5).open_over(elsewhere()).publish(publish(&topic, 1, "from another"));
    assert_eq!(client.take().text(), "from another");
    client.publish(publish(&topic, 1, "its own"));
    client.expect_nothing();
}

fn strict_mode() {
    let mut client = v5().open();
    client.send_publish(&publish("a\u{1}b", 1, "x").id(9));
    client.expect_disconnect(&[0x81]);
}

fn upgrade_qos() {
    let topic = unique_topic();
    let mut client = v5().open();
    client.subscribe(&topic, 1);
    client.send_publish(&publish(&topic, 0, "x"));
    assert_eq!(client.take().qos, 1);
}

fn mountpoint() {
    let mut client = v5().open();
    client.subscribe("valve", 1);
    let topic = format!("plant/{}/valve", client.id);
    v5().open_over(elsewhere()).publish(publish(&topic, 1, "open"));
    assert_eq!(client.take().topic, "valve");
}

fn response_information() {
    let client = v5().prop(Prop::RequestResponseInformation(1)).open();
    let answer = Prop::ResponseInformation(format!("answers/{}", client.id));
    assert!(client.props.0.contains(&answer), "{:?}", client.props);
}
