//! Request and response (MQTT 5.0, 4.10, 3.3.2.3.5, 3.3.2.3.6).

use crate::client::{unique_topic, v5};
use crate::runner::tests;
use crate::wire::{self, Prop, publish};

tests![
    response_topic_and_correlation_data_are_passed_on,
    request_is_answered,
    response_topic_with_wildcards_is_refused,
    response_topic_must_be_utf8,
    request_response_information_2_is_refused,
];

/// [MQTT-3.3.2-15], [MQTT-3.3.2-16]
fn response_topic_and_correlation_data_are_passed_on() {
    for qos in 0..=2 {
        let topic = unique_topic();
        let mut subscribers = [v5().open(), v5().open()];
        for subscriber in &mut subscribers {
            subscriber.subscribe(&topic, qos);
        }
        let answer = Prop::ResponseTopic(format!("{topic}/answer/\u{1F600}"));
        let correlation = Prop::CorrelationData((0..=255).collect());
        let mut message = publish(&topic, qos, "x");
        message.props.0 = vec![answer.clone(), correlation.clone()];
        v5().open().publish(message);
        for subscriber in &mut subscribers {
            let got = subscriber.take().props.0;
            assert_eq!(got.len(), 2, "{got:?}");
            assert!(got.contains(&answer) && got.contains(&correlation), "{got:?}");
        }
    }
}

/// MQTT 5.0, 4.10.1
fn request_is_answered() {
    let topic = unique_topic();
    let (mut requester, mut responder) = (v5().open(), v5().open());
    responder.subscribe(&topic, 1);
    requester.subscribe(&format!("{topic}/answer"), 1);
    let request = publish(&topic, 1, "6 x 7")
        .prop(Prop::ResponseTopic(format!("{topic}/answer")))
        .prop(Prop::CorrelationData(b"question 1".to_vec()));
    requester.publish(request);
    let request = responder.take();
    let answer_to = request.props.find(|p| match p {
        Prop::ResponseTopic(topic) => Some(topic.clone()),
        _ => None,
    });
    let mut answer = publish(&answer_to.expect("a Response Topic"), 1, "42");
    answer
        .props
        .0
        .extend(request.props.0.iter().filter(|p| matches!(p, Prop::CorrelationData(_))).cloned());
    responder.publish(answer);
    let answer = requester.take();
    assert_eq!(answer.text(), "42");
    assert_eq!(answer.props.0, [Prop::CorrelationData(b"question 1".to_vec())]);
}

/// [MQTT-3.3.2-14]
fn response_topic_with_wildcards_is_refused() {
    for answer in ["a/#", "+", "a/+/b"] {
        let mut client = v5().open();
        let message = publish(&unique_topic(), 1, "x").id(1);
        client.send_publish(&message.prop(Prop::ResponseTopic(answer.into())));
        client.expect_disconnect(&[0x81, 0x82, 0x90]);
    }
}

/// [MQTT-3.3.2-13]
fn response_topic_must_be_utf8() {
    let mut body = Vec::new();
    wire::write_bytes(&mut body, unique_topic().as_bytes());
    body.extend([6, 0x08, 0, 3, 0xED, 0xA0, 0x80]);
    let mut client = v5().open();
    client.send(&wire::frame(0x30, &body));
    client.expect_disconnect(&[0x81, 0x82, 0x90]);
}

/// MQTT 5.0, 3.1.2.11.6: a Protocol Error.
fn request_response_information_2_is_refused() {
    let mut client = v5().prop(Prop::RequestResponseInformation(2)).begin();
    client.expect_refused(&[0x81, 0x82]);
}
