//! Mosquitto: a broker of its own for one test, on free ports of the loopback.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A running broker, stopped when dropped.
pub(crate) struct Mosquitto {
    process: Child,
    directory: PathBuf,
    port: u16,
    pub(crate) tls_port: u16,
    websocket_port: u16,
    websocket_tls_port: u16,
    password_port: u16,
}

impl Mosquitto {
    /// `None`, with a message, if mosquitto is not installed.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = PROGRAMS.iter().map(Path::new).find(|it| it.exists()) else {
            assert!(std::env::var_os("REQUIRE_MOSQUITTO").is_none(), "mosquitto is not installed");
            eprintln!(
                "skipped: mosquitto is not installed (REQUIRE_MOSQUITTO makes this an error)"
            );
            return None;
        };
        // A free port may be taken before mosquitto has it; then another is tried.
        (0..5).find_map(|_| Self::try_start(program)).or_else(|| panic!("mosquitto does not start"))
    }

    fn try_start(program: &Path) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("broker-cli-test-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        // mosquitto drops root, and must reach its socket and its files still.
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o777)).unwrap();
        write_certificates(&directory);
        let [port, tls_port, websocket_port, websocket_tls_port, password_port] =
            std::array::from_fn(|_| free_port());
        let at = directory.display();
        let tls = format!("certfile {at}/server.pem\nkeyfile {at}/server.key\n");
        let config = format!(
            "per_listener_settings true\nmax_queued_messages 0\n\
             listener {port} 127.0.0.1\nallow_anonymous true\n\
             listener {tls_port} 127.0.0.1\nallow_anonymous true\n{tls}\
             listener {websocket_port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n\
             listener {websocket_tls_port} 127.0.0.1\nprotocol websockets\nallow_anonymous true\n{tls}\
             listener 0 {at}/socket\nallow_anonymous true\n\
             listener {password_port} 127.0.0.1\npassword_file {at}/passwords\n"
        );
        std::fs::write(directory.join("mosquitto.conf"), config).unwrap();
        let passwords = directory.join("passwords");
        let made = Command::new("mosquitto_passwd")
            .arg("-c")
            .arg("-b")
            .arg(&passwords)
            .args(["me", "secret"])
            .status();
        assert!(made.unwrap().success());
        std::fs::set_permissions(&passwords, PermissionsExt::from_mode(0o644)).unwrap();
        let mut process = Command::new(program)
            .arg("-c")
            .arg(directory.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ports = [port, tls_port, websocket_port, websocket_tls_port, password_port];
        let until = Instant::now() + Duration::from_secs(10);
        while !ports.iter().all(|&it| TcpStream::connect(("127.0.0.1", it)).is_ok()) {
            if process.try_wait().unwrap().is_some() || Instant::now() > until {
                let _ = process.kill();
                let _ = process.wait();
                let _ = std::fs::remove_dir_all(&directory);
                return None;
            }
            std::thread::yield_now();
        }
        Some(Self {
            process,
            directory,
            port,
            tls_port,
            websocket_port,
            websocket_tls_port,
            password_port,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// HOST:PORT.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn tcp(&self) -> String {
        format!("-h 127.0.0.1 -p {}", self.port)
    }

    pub(crate) fn tls(&self) -> String {
        format!("-h localhost -p {} --cafile {}", self.tls_port, self.ca().display())
    }

    pub(crate) fn websocket(&self) -> String {
        format!("-L ws://127.0.0.1:{}/mqtt", self.websocket_port)
    }

    pub(crate) fn websocket_tls(&self) -> String {
        format!(
            "-L wss://localhost:{}/mqtt --cafile {}",
            self.websocket_tls_port,
            self.ca().display()
        )
    }

    pub(crate) fn unix(&self) -> String {
        format!("--unix {}/socket", self.directory.display())
    }

    /// For user `me` with password `secret` only.
    pub(crate) fn password_protected(&self) -> String {
        format!("-h 127.0.0.1 -p {}", self.password_port)
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// A CA that has nothing to do with the broker.
    pub(crate) fn other_ca(&self) -> PathBuf {
        self.directory.join("other-ca.pem")
    }

    pub(crate) fn write_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Reads stderr up to a line that contains `text`; the rest of it must stay open.
pub(crate) fn wait_for_line(mut child: Child, text: &str) -> (Child, BufReader<ChildStderr>) {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "ended before '{text}'");
    }
    (child, stderr)
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

fn write_certificates(directory: &Path) {
    let authority = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let ca = authority("test CA");
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    for (name, pem) in [
        ("ca.pem", ca.pem()),
        ("other-ca.pem", authority("other CA").pem()),
        ("server.pem", server.pem()),
        ("server.key", key.serialize_pem()),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, pem).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }
}

const PROGRAMS: [&str; 3] =
    ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto", "/opt/homebrew/sbin/mosquitto"];
