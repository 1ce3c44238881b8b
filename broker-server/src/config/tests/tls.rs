//! Certificates, what is asked about them, and what takes their place.

use super::*;

#[test]
fn revocation_lists_are_named_where_certificates_are_checked() {
    let tls = |text: &str| {
        let config = config(text);
        listener(&config, Protocol::Wss, "external").tls.clone().unwrap()
    };
    let plain = tls("");
    assert!(!plain.has_crls() && plain.crl_check == CrlCheck::Chain);
    let checked = tls(r#"
        [listener.wss.external]
        verify = "verify_peer"
        cacertfile = "ca.pem"
        crlfile = "ca.crl"
        crl_url = ["http://crl.example/ca.crl", "https://crl.example/ca.crl"]
        crl_refresh = "10m"
        crl_check = "peer"
        "#);
    assert!(checked.has_crls() && checked.crl_check == CrlCheck::Peer);
    assert_eq!((checked.crl_url.len(), checked.crl_refresh_ms), (2, 600_000));
    check_errors(
        r#"[listener.ssl.external]
crlfile = "ca.crl"
[listener.wss.external]
crl_url = ["http://crl.example/", "ftp://crl.example/", "http://bob:secret@crl.example/a@b"]
[management.listener.https]
crl_url = ["http://crl.example/"]
"#,
        &[
            r#"broker.toml:2:1: listener.ssl.external.crlfile = ["ca.crl"]: needs listener.ssl.external.verify = "verify_peer""#,
            r#"broker.toml:4:35: listener.wss.external.crl_url = "ftp://crl.example/": is no URL to fetch; must be an http or https URL"#,
            r#"broker.toml:4:57: listener.wss.external.crl_url = "http://***@crl.example/a@b": has a user name or password; must be an http or https URL"#,
            r#"broker.toml:6:1: management.listener.https.crl_url = ["http://crl.example/"]: needs management.listener.https.verify = "verify_peer""#,
        ],
    );
}

#[test]
fn a_responder_is_named_where_certificates_are_asked_about() {
    let tls = |text: &str| {
        let config = config(text);
        listener(&config, Protocol::Ssl, "external").tls.clone().unwrap()
    };
    let plain = tls("");
    assert!(!plain.asks_ocsp());
    assert_eq!((plain.ocsp_refresh_ms, plain.ocsp_timeout_ms), (3_600_000, 5_000));
    let asked = |responder: &str| {
        tls(&format!(
            "[listener.ssl.external]\nverify = \"verify_peer\"\ncacertfile = \"ca.pem\"\n\
             ocsp_check = \"hard\"\nocsp_responder = \"{responder}\"\nocsp_refresh = \"10m\"\n"
        ))
    };
    let by_certificate = asked("certificate");
    assert!(by_certificate.asks_ocsp() && by_certificate.ocsp_refresh_ms == 600_000);
    assert_eq!(by_certificate.ocsp_responder, Some(OcspResponder::Certificate));
    let url = "http://ocsp.example:8080/a";
    assert_eq!(asked(url).ocsp_responder, Some(OcspResponder::Url(url.into())));
    check_errors(
        r#"[listener.ssl.external]
ocsp_check = "soft"
ocsp_responder = "certificate"
[listener.wss.external]
ocsp_responder = "http://bob:secret@ocsp.example/"
[management.listener.https]
verify = "verify_peer"
cacertfile = "ca.pem"
ocsp_check = "hard"
"#,
        &[
            r#"broker.toml:2:14: listener.ssl.external.ocsp_check = "soft": needs listener.ssl.external.verify = "verify_peer""#,
            r#"broker.toml:5:18: listener.wss.external.ocsp_responder = "http://***@ocsp.example/": has a user name or password; must be "certificate" or an http or https URL, or "none""#,
            r#"broker.toml:9:14: management.listener.https.ocsp_check = "hard": needs management.listener.https.ocsp_responder, to know whom to ask"#,
        ],
    );
}

#[test]
fn pre_shared_keys_take_the_place_of_certificates() {
    let errors = |text: &str| settings(text, &[]).err().map(|it| it.to_string());
    let known =
        "[listener.ssl.external]\npsk_ciphers = [\"PSK-AES128-GCM-SHA256\", \"PSK-RC4-SHA\"]\n";
    if cfg!(feature = "psk") {
        let config = config(known);
        let tls = listener(&config, Protocol::Ssl, "external").tls.clone().unwrap();
        assert_eq!(tls.psk_ciphers.len(), 2);
        assert!(config.notes.iter().any(|note| note.contains("PSK-RC4-SHA is not offered")));
    } else {
        let told = errors(known).unwrap();
        assert!(told.contains("listener.ssl.external.psk_ciphers = "), "{told}");
        assert!(told.contains("TLS-PSK is not in this build"), "{told}");
    }
    let unknown = "[listener.wss.external]\npsk_ciphers = [\"AES128-SHA\"]\n";
    let told = errors(unknown).unwrap();
    assert!(told.contains("is no cipher suite with a pre-shared key"), "{told}");
    let told = errors("[psk.file]\ndelimiter = \"\"\n").unwrap();
    assert!(told.contains("psk.file.delimiter"), "{told}");
}
