//! The API over HTTPS: certificates, those of clients, and reading them again at SIGHUP.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};

use crate::broker::{Broker, Folder};

const BIND: (&str, &str) = ("management.listener.https.bind", "\"127.0.0.1:0\"");

#[test]
fn without_a_configured_certificate_one_is_made() {
    let broker = Broker::start_with(&[BIND]);
    let made = broker.folder().join("data/certs/server.crt");
    for version in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
        let answer = curl(&broker, &made, &version).unwrap();
        assert!(answer.contains("\"Running\""), "{answer}");
    }
    // curl's code for a certificate that nobody vouches for.
    let other = Authority::new(broker.folder(), "other");
    assert_eq!(curl(&broker, &other.certificate, &[]), Err(60));
    let plain = format!("http://{}/status", broker.address("https:management"));
    let plain = Command::new("curl").args(["--silent", &plain]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&plain.stdout), "", "nothing is told in the clear");
    broker.api().get("brokers");
}

#[test]
fn it_is_off_unless_it_has_an_address_or_is_wanted() {
    let enabled = "management.listener.https.enabled";
    for (keys, is_on) in [(&[][..], false), (&[BIND], true), (&[BIND, (enabled, "false")], false)] {
        let (_, log) = Broker::start_with(keys).stop();
        assert_eq!(log.contains("name=https:management"), is_on, "{log}");
    }
}

#[test]
fn its_certificate_is_read_again_at_sighup() {
    let folder = Folder::new();
    let (old, new) = (Authority::new(folder.path(), "old"), Authority::new(folder.path(), "new"));
    let (certificate, key) = (folder.path().join("server.crt"), folder.path().join("server.key"));
    old.server(&certificate, &key);
    let (certfile, keyfile) = (quoted(&certificate), quoted(&key));
    let keys = [
        BIND,
        ("management.listener.https.certfile", certfile.as_str()),
        ("management.listener.https.keyfile", &keyfile),
    ];
    let broker = Broker::start_in(folder, &keys);
    let trusts = |authority: &Authority| curl(&broker, &authority.certificate, &[]).is_ok();
    assert!(trusts(&old) && !trusts(&new));
    new.server(&certificate, &key);
    assert!(trusts(&old), "not before it is told to");
    broker.reload("certificates read again");
    assert!(trusts(&new) && !trusts(&old));

    fs::write(&certificate, "no certificate").unwrap();
    let name = certificate.display();
    let said = format!(
        "the old certificate stays: management.listener.https.certfile = {name}: holds no certificate"
    );
    broker.reload(&said);
    assert!(trusts(&new));
}

#[test]
fn clients_show_a_certificate_where_it_is_demanded() {
    let folder = Folder::new();
    let (ours, theirs) =
        (Authority::new(folder.path(), "ours"), Authority::new(folder.path(), "theirs"));
    let trusted = folder.path().join("trusted.crt");
    fs::copy(&ours.certificate, &trusted).unwrap();
    let cacertfile = quoted(&trusted);
    let keys = [
        BIND,
        ("management.listener.https.verify", "\"verify_peer\""),
        ("management.listener.https.cacertfile", cacertfile.as_str()),
        ("management.listener.https.fail_if_no_peer_cert", "true"),
    ];
    let broker = Broker::start_in(folder, &keys);
    let made = broker.folder().join("data/certs/server.crt");
    let lets_in = |arguments: &[&str]| curl(&broker, &made, arguments).is_ok();
    let (our_client, their_client) = (ours.client(), theirs.client());
    let with = |client: &(String, String)| lets_in(&["--cert", &client.0, "--key", &client.1]);
    assert!(!lets_in(&[]), "without a certificate");
    assert!(with(&our_client) && !with(&their_client));
    fs::copy(&theirs.certificate, &trusted).unwrap();
    broker.reload("certificates read again");
    assert!(with(&their_client) && !with(&our_client));
    let (folder, _) = broker.stop();

    let keys = [keys[0], keys[1], keys[2]];
    let broker = Broker::start_in(folder, &keys);
    let lets_in = |arguments: &[&str]| curl(&broker, &made, arguments).is_ok();
    assert!(lets_in(&[]), "it need not show one");
    assert!(!lets_in(&["--cert", &our_client.0, "--key", &our_client.1]), "but not a wrong one");
}

#[test]
fn what_is_wrong_with_its_keys_stops_the_start() {
    let check = |keys: &[(&str, &str)], expected: &str| {
        let log = Broker::try_start(Folder::new(), keys).err().expect("it must not start");
        assert!(log.contains(expected), "{log}");
    };
    check(
        &[BIND, ("management.listener.https.certfile", "\"/nowhere/server.crt\"")],
        "management.listener.https.certfile = \"/nowhere/server.crt\": needs management.listener.https.keyfile",
    );
    check(
        &[
            BIND,
            ("management.listener.https.certfile", "\"/nowhere/server.crt\""),
            ("management.listener.https.keyfile", "\"/nowhere/server.key\""),
        ],
        "management.listener.https.certfile = /nowhere/server.crt: No such file or directory",
    );
    check(
        &[BIND, ("management.listener.https.verify", "\"verify_peer\"")],
        "management.listener.https.verify = \"verify_peer\": needs management.listener.https.cacertfile",
    );
    check(
        &[("management.listener.https.bind", "\"0.0.0.0:0\"")],
        "https:management would listen on 0.0.0.0:0, and application admin has the secret",
    );
    check(
        &[
            ("management.listener.https.bind", "\"127.0.0.1:18181\""),
            ("management.listener.http.bind", "\"0.0.0.0:18181\""),
        ],
        "127.0.0.1:18181 is taken by management.listener.http.bind (0.0.0.0:18181)",
    );
}

/// What curl gets of `brokers` when it trusts this certificate alone, or the code it ends with.
fn curl(broker: &Broker, trusted: &Path, arguments: &[&str]) -> Result<String, i32> {
    let port = broker.address("https:management").rsplit_once(':').unwrap().1;
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "-u", "admin:public", "--cacert"])
        .arg(trusted)
        .args(arguments)
        .arg(format!("https://localhost:{port}/api/v3/brokers"))
        .output()
        .expect("curl is there");
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout).unwrap());
    }
    Err(output.status.code().unwrap())
}

/// Signs certificates.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    name: String,
    /// A file.
    certificate: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificate = folder.join(format!("{name}.crt"));
        fs::write(&certificate, issuer.pem()).unwrap();
        Self { issuer, folder: folder.to_owned(), name: name.to_owned(), certificate }
    }

    fn server(&self, certificate: &Path, key: &Path) {
        self.sign(ExtendedKeyUsagePurpose::ServerAuth, certificate, key);
    }

    /// Certificate and key, as arguments.
    fn client(&self) -> (String, String) {
        let file = |extension| self.folder.join(format!("client-of-{}.{extension}", self.name));
        let (certificate, key) = (file("crt"), file("key"));
        self.sign(ExtendedKeyUsagePurpose::ClientAuth, &certificate, &key);
        (certificate.display().to_string(), key.display().to_string())
    }

    fn sign(&self, purpose: ExtendedKeyUsagePurpose, certificate: &Path, key: &Path) {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.extended_key_usages.push(purpose);
        let pair = KeyPair::generate().unwrap();
        fs::write(certificate, params.signed_by(&pair, &self.issuer).unwrap().pem()).unwrap();
        fs::write(key, pair.serialize_pem()).unwrap();
    }
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.display().to_string())
}
