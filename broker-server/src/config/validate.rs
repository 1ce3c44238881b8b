//! What no key can tell alone: whether the settings fit each other.

use broker_net::config::{Bind, OcspCheck, TlsConfig};

use super::accounts::{self, Account};
use super::error::{ConfigError, Origin};
use super::monitors;
use super::settings::{Listener, Settings};
use super::table::Why;
use super::value::show_size;

/// Refuses what cannot work.
pub(crate) fn check(settings: &Settings, errors: &mut Vec<ConfigError>) {
    for listener in &settings.listeners {
        check_listener(settings, listener, errors);
    }
    check_tls(settings, HTTPS, &settings.management.https.tls, errors);
    check_addresses(settings, errors);
    monitors::check(settings, errors);
    if settings.store.enabled {
        check_store(settings, errors);
    }
    for (name, subscription) in &settings.subscriptions {
        let path = format!("module.subscription.{name}");
        check_given(settings, &path, "topic", &subscription.filter, errors);
    }
    for (subject, item, account) in &settings.accounts {
        let path = format!("{}.{item}", accounts::table(*subject));
        check_given(settings, &path, subject.word(), &account.name.0, errors);
        check_given(settings, &path, "password", &account.password.0, errors);
        let same = |(its_subject, its_item, other): &&(_, String, Account)| {
            its_subject == subject && its_item != item && other.name == account.name
        };
        if let Some((_, other, _)) = settings.accounts.iter().find(same)
            && !account.name.0.is_empty()
            && other < item
        {
            let problem = format!("{}.{other} has it too", accounts::table(*subject));
            errors.push(wrong(settings, format!("{path}.{}", subject.word()), problem));
        }
    }
}

/// A text that has no default.
fn check_given(
    settings: &Settings,
    path: &str,
    name: &str,
    value: &str,
    errors: &mut Vec<ConfigError>,
) {
    let key = format!("{path}.{name}");
    // What was given and refused has its error already.
    let refused = errors.iter().any(|error| error.key == key);
    if value.is_empty() && !refused {
        errors.push(missing(settings, path, key, "must be there"));
    }
}

/// What works and is likely not meant.
pub(crate) fn notes(settings: &Settings) -> Vec<String> {
    let mut notes = Vec::new();
    for (why, reason) in [
        (Why::Meaningless, "have no meaning for this broker and are ignored"),
        (Why::Later, "configure what this broker does not have yet and are ignored"),
    ] {
        let keys: Vec<_> = settings
            .ignored
            .iter()
            .filter(|(ignored, _)| *ignored == why)
            .map(|(_, key)| key.as_str())
            .collect();
        if !keys.is_empty() {
            notes.push(format!("these keys {reason}: {}", keys.join(", ")));
        }
    }
    if let Some((origin, value)) = settings.given.get("log.to")
        && (value == "\"file\"" || value == "\"both\"")
    {
        notes.push(format!(
            "{origin}: log.to = {value}: no file is written, lines go to the console"
        ));
    }
    note_store(settings, &mut notes);
    note_plugins(settings, &mut notes);
    for listener in settings.listeners.iter().filter(|listener| listener.enabled) {
        note_listener(settings, listener, &mut notes);
    }
    note_tls(HTTPS, &settings.management.https.tls, &mut notes);
    if !settings.listeners.iter().any(|listener| listener.enabled) {
        notes.push("no listener is enabled: nobody can connect".into());
    }
    notes
}

fn check_listener(settings: &Settings, listener: &Listener, errors: &mut Vec<ConfigError>) {
    let path = listener.path();
    let config = &listener.config;
    let key = |name: &str| format!("{path}.{name}");
    let refused = |name: &str, errors: &[ConfigError]| {
        let key = key(name);
        errors.iter().any(|error| error.key == key)
    };
    if listener.bind.is_none() && !refused("bind", errors) {
        let problem = "must be there: this listener has no address of its own";
        errors.push(missing(settings, &path, key("bind"), problem));
    }
    if !settings.zones.contains_key(&config.zone) {
        let zones: Vec<_> = settings.zones.keys().map(String::as_str).collect();
        let problem = format!("no such zone; must be one of {}", zones.join(", "));
        errors.push(wrong(settings, key("zone"), problem));
    }
    if config.proxy_protocol
        && config.proxy_protocol_peers.is_empty()
        && !refused("proxy_protocol_peers", errors)
    {
        let problem = format!(
            "without {} every connection would be refused; name the proxies there",
            key("proxy_protocol_peers")
        );
        errors.push(wrong(settings, key("proxy_protocol"), problem));
    }
    if let Some(tls) = &config.tls {
        check_tls(settings, &path, tls, errors);
    }
}

fn check_tls(settings: &Settings, path: &str, tls: &TlsConfig, errors: &mut Vec<ConfigError>) {
    let key = |name: &str| format!("{path}.{name}");
    let refused = |name: &str, errors: &[ConfigError]| {
        let key = key(name);
        errors.iter().any(|error| error.key == key)
    };
    for (name, file, other, other_file) in [
        ("certfile", &tls.certfile, "keyfile", &tls.keyfile),
        ("keyfile", &tls.keyfile, "certfile", &tls.certfile),
    ] {
        if file.is_some() && other_file.is_none() && !refused(other, errors) {
            let problem = format!("needs {}", key(other));
            errors.push(wrong(settings, key(name), problem));
        }
    }
    if tls.verify_peer && tls.cacertfile.is_none() && !refused("cacertfile", errors) {
        let problem = format!("needs {} to check against", key("cacertfile"));
        errors.push(wrong(settings, key("verify"), problem));
    }
    check_psk(settings, path, tls, errors);
    let is_asked = tls.ocsp_check != OcspCheck::Off;
    if is_asked && tls.ocsp_responder.is_none() && !refused("ocsp_responder", errors) {
        let problem = format!("needs {}, to know whom to ask", key("ocsp_responder"));
        errors.push(wrong(settings, key("ocsp_check"), problem));
    }
    for (name, is_given) in [
        ("crlfile", !tls.crlfile.is_empty()),
        ("crl_url", !tls.crl_url.is_empty()),
        ("ocsp_check", is_asked),
    ] {
        // Not a note: who names a list counts on its being asked.
        if is_given && !tls.verify_peer {
            errors.push(wrong(
                settings,
                key(name),
                format!("needs {} = \"verify_peer\"", key("verify")),
            ));
        }
    }
}

/// Pre-shared keys take the place of certificates.
fn check_psk(settings: &Settings, path: &str, tls: &TlsConfig, errors: &mut Vec<ConfigError>) {
    if tls.psk_ciphers.is_empty() {
        return;
    }
    let key = |name: &str| format!("{path}.{name}");
    let mut refuse = |problem: String| errors.push(wrong(settings, key("psk_ciphers"), problem));
    if !cfg!(feature = "psk") {
        refuse("TLS-PSK is not in this build, which was made without its feature psk".into());
    } else if !tls.psk_ciphers.iter().any(|cipher| cipher.is_offered()) {
        refuse("names none that is offered".into());
    } else if !tls.tls12 {
        refuse(format!("needs tlsv1.2 among {}", key("tls_versions")));
    } else if tls.verify_peer {
        refuse(format!("shows no certificates, so {} cannot be asked for", key("verify")));
    }
}

fn note_listener(settings: &Settings, listener: &Listener, notes: &mut Vec<String>) {
    let path = listener.path();
    if let Some(tls) = &listener.config.tls {
        note_tls(&path, tls, notes);
        if !tls.verify_peer && tls.peer_cert_as_username.is_some() {
            notes.push(format!("{path}.peer_cert_as_username does nothing without verify_peer"));
        }
        if let Some((origin, value)) = settings.given.get(&format!("{path}.tls_versions"))
            && (value.contains("\"tlsv1.1\"") || value.contains("\"tlsv1\""))
        {
            notes.push(format!(
                "{origin}: {path}.tls_versions = {value}: tlsv1 and tlsv1.1 are not offered"
            ));
        }
    }
    if let Some(websocket) = &listener.config.websocket
        && (websocket.proxy_address_header.is_some() || websocket.proxy_port_header.is_some())
        && listener.config.proxy_protocol_peers.is_empty()
    {
        notes.push(format!(
            "{path}.proxy_address_header and proxy_port_header do nothing without proxy_protocol_peers"
        ));
    }
}

fn note_tls(path: &str, tls: &TlsConfig, notes: &mut Vec<String>) {
    if !tls.psk_ciphers.is_empty() && tls.certfile.is_some() {
        notes.push(format!("{path}.certfile does nothing with {path}.psk_ciphers"));
    }
    for cipher in tls.psk_ciphers.iter().filter(|cipher| !cipher.is_offered()) {
        notes.push(format!("{path}.psk_ciphers: {} is not offered", cipher.name()));
    }
    if tls.ocsp_check == OcspCheck::Off && tls.ocsp_responder.is_some() {
        notes.push(format!("{path}.ocsp_responder does nothing without {path}.ocsp_check"));
    }
    if !tls.verify_peer && tls.fail_if_no_peer_cert {
        notes.push(format!("{path}.fail_if_no_peer_cert does nothing without verify_peer"));
    }
}

/// What is kept must fit into the store's files.
fn check_store(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let store = &settings.store;
    let (piece, segment) = (store.piece_bytes(), show_size(store.segment_bytes));
    let least = |bytes: u64| show_size(bytes.next_multiple_of(1 << 20));
    for (name, zone) in &settings.zones {
        let bytes = u64::from(zone.config.max_packet_size);
        if bytes <= piece {
            continue;
        }
        let keys = [format!("zone.{name}.max_packet_size"), "mqtt.max_packet_size".into()];
        let packet_key = keys.into_iter().find(|key| settings.given.contains_key(key));
        errors.push(match packet_key {
            Some(key) => {
                let problem = format!(
                    "more than a quarter of store.segment_bytes ({segment}), which would have to be {} at least",
                    least(bytes * 4)
                );
                wrong(settings, key, problem)
            }
            // Only the segment was given, so that is the one to correct.
            None => {
                let problem = format!(
                    "less than 4 x zone.{name}.max_packet_size ({})",
                    show_size(bytes)
                );
                wrong(settings, "store.segment_bytes".into(), problem)
            }
        });
    }
    let table = settings.broker.max_sessions as u64 * SESSION_ENTRY_BYTES;
    if table > piece {
        let (mut key, mut problem) = (
            "broker.max_sessions",
            format!(
                "store.segment_bytes ({segment}) would have to be {} at least for so many",
                least(table * 4)
            ),
        );
        if !settings.given.contains_key(key) {
            problem = format!(
                "too small for the {} sessions of broker.max_sessions; must be {} at least",
                settings.broker.max_sessions,
                least(table * 4)
            );
            key = "store.segment_bytes";
        }
        errors.push(wrong(settings, key.into(), problem));
    }
    for (small, bytes, key, max) in [
        (
            "4 x store.segment_bytes",
            store.segment_bytes * 4,
            "store.max_log_bytes",
            store.max_log_bytes,
        ),
        ("store.log_min_bytes", store.log_min_bytes, "store.max_log_bytes", store.max_log_bytes),
    ] {
        if bytes > max {
            let problem = format!("less than {small} ({})", show_size(bytes));
            errors.push(wrong(settings, key.into(), problem));
        }
    }
}

/// Keys of a store that is not there.
fn note_store(settings: &Settings, notes: &mut Vec<String>) {
    if settings.store.enabled {
        return;
    }
    let is_stores = |key: &&str| {
        ["durability.", "store.", "wills."].iter().any(|table| key.starts_with(table))
            && *key != "store.enabled"
    };
    let keys: Vec<_> = settings.given.keys().map(String::as_str).filter(is_stores).collect();
    if !keys.is_empty() {
        notes.push(format!("store.enabled = false: these do nothing: {}", keys.join(", ")));
    }
}

/// Plugins that are asked for and will not be there.
fn note_plugins(settings: &Settings, notes: &mut Vec<String>) {
    let absent = settings.plugins_loaded.iter().filter(|name| !name.is_built_in());
    let absent: Vec<_> = absent.map(|name| name.0.as_str()).collect();
    if !absent.is_empty() {
        let names = absent.join(", ");
        notes.push(format!("plugins.loaded: not in this build, so not loaded: {names}"));
    }
}

/// Two enabled listeners cannot have one address.
fn check_addresses(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let mqtt = settings.listeners.iter().filter(|listener| listener.enabled);
    let mqtt = mqtt.filter_map(|it| Some((it.bind.clone()?, format!("{}.bind", it.path()))));
    let management = &settings.management;
    let http = [(&management.http, HTTP), (&management.https.listener, HTTPS)];
    let http = http.into_iter().filter(|(listener, _)| listener.enabled);
    let http = http.map(|(it, path)| (it.bind.0.clone(), format!("{path}.bind")));
    let mut seen: Vec<(Bind, String)> = Vec::new();
    for (bind, key) in mqtt.chain(http) {
        if errors.iter().any(|error| error.key == key) {
            // What stands there is a default that was not wanted.
            continue;
        }
        if let Some((other, taken)) = seen.iter().find(|(other, _)| overlap(other, &bind)) {
            let (this, other, bind, taken) = if settings.given.contains_key(&key) {
                (&key, taken, &bind, other)
            } else {
                // The one that was given is the one to correct.
                (taken, &key, other, &bind)
            };
            let problem = format!("{} is taken by {other} ({})", bind, taken);
            let mut error = wrong(settings, this.clone(), problem);
            error.value = Some(format!("\"{bind}\""));
            errors.push(error);
        }
        seen.push((bind, key));
    }
}

fn overlap(a: &Bind, b: &Bind) -> bool {
    match (a.socket_addr(), b.socket_addr()) {
        (Some(a), Some(b)) => {
            let same_ip = a.ip() == b.ip()
                || (a.is_ipv4() == b.is_ipv4()
                    && (a.ip().is_unspecified() || b.ip().is_unspecified()));
            a.port() == b.port() && a.port() != 0 && same_ip
        }
        _ => a == b,
    }
}

/// A value that was given, or a default that others make wrong.
pub(crate) fn wrong(settings: &Settings, key: String, problem: String) -> ConfigError {
    let (origin, value) = match settings.given.get(&key) {
        Some((origin, value)) => (origin.clone(), Some(value.clone())),
        None => (Origin::Default, None),
    };
    ConfigError { origin, key, value, problem }
}

/// A key without a default, at the place of its table.
fn missing(settings: &Settings, path: &str, key: String, problem: &str) -> ConfigError {
    let origin = settings.named.get(path).cloned().unwrap_or(Origin::Default);
    ConfigError { origin, key, value: None, problem: problem.to_owned() }
}

/// What one session takes in the list of them that a snapshot begins with.
const SESSION_ENTRY_BYTES: u64 = 12;
const HTTP: &str = "management.listener.http";
const HTTPS: &str = "management.listener.https";
