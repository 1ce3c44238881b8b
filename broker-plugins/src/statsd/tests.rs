//! Where it is pushed to, what is in the text, and what a configuration may be.

use std::collections::BTreeMap;

use super::*;
use crate::machine::{CpuTimes, Heap};

/// A machine that has had so many ticks, half of them busy.
struct Ticks(Mutex<u64>);

impl Machine for Ticks {
    fn cpu_times(&self) -> Option<CpuTimes> {
        let total = *self.0.lock();
        Some(CpuTimes { busy: total / 2, total })
    }

    fn run_queue(&self) -> Option<u64> {
        Some(3)
    }

    fn cpu_seconds(&self) -> Option<f64> {
        Some(1.25)
    }

    fn resident_bytes(&self) -> Option<u64> {
        Some(1 << 20)
    }

    fn open_descriptors(&self) -> Option<u64> {
        None
    }

    fn max_descriptors(&self) -> Option<u64> {
        Some(1024)
    }

    fn heap(&self) -> Option<Heap> {
        None
    }
}

/// Values by name; each family is its type, an empty help and one sample.
fn families(text: &str) -> BTreeMap<&str, (&str, f64)> {
    let lines: Vec<_> = text.lines().collect();
    let family = |lines: &[&'_ str]| -> Option<()> {
        let (name, _) = lines[2].split_once(' ')?;
        (lines[1] == format!("# HELP {name} ")).then_some(())
    };
    lines
        .chunks(3)
        .map(|lines| {
            family(lines).unwrap_or_else(|| panic!("{lines:?}"));
            let (name, value) = lines[2].split_once(' ').unwrap();
            let kind = lines[0].strip_prefix(&format!("# TYPE {name} ")).unwrap();
            (name, (kind, value.parse().unwrap()))
        })
        .collect()
}

#[test]
fn the_text_has_the_originals_names_once_each() {
    let broker = Broker::builder().build().unwrap();
    let machine = Arc::new(Ticks(Mutex::new(200)));
    let exposition = Exposition::new(&broker, Arc::clone(&machine) as _);
    let text = exposition.text();
    let told = families(&text);
    assert_eq!(told.len(), text.lines().count() / 3, "none twice");
    // 41 counters of metrics and that of forwarded ones, 12 gauges, 4 of the runtime, 3 of the process: open
    // descriptors are not known.
    assert_eq!(told.len(), 41 + 1 + 12 + 4 + 3, "{text}");
    assert_eq!(told["emqx_packets_pubcomp_missed"], ("counter", 0.0));
    assert_eq!(told["emqx_messages_qos2_forward"], ("counter", 0.0));
    assert_eq!(told["emqx_subscriptions_max"], ("gauge", 0.0));
    assert_eq!(told["emqx_vm_cpu_use"], ("gauge", 50.0));
    assert_eq!(told["emqx_vm_run_queue"], ("gauge", 3.0));
    assert_eq!(told["process_cpu_seconds_total"], ("counter", 1.25));
    assert!(!told.contains_key("process_open_fds"));
}

#[test]
fn how_busy_it_is_is_that_since_the_last_time() {
    let broker = Broker::builder().build().unwrap();
    let machine = Arc::new(Ticks(Mutex::new(0)));
    let exposition = Exposition::new(&broker, Arc::clone(&machine) as _);
    let cpu = || {
        let text = exposition.text();
        let told = families(&text);
        let of = |name: &str| told.get(name).map(|(_, value)| *value);
        (of("emqx_vm_cpu_use"), of("emqx_vm_cpu_idle"))
    };
    assert_eq!(cpu(), (None, None), "no time has passed");
    *machine.0.lock() = 10;
    assert_eq!(cpu(), (Some(50.0), Some(50.0)));
    assert_eq!(cpu(), (Some(50.0), Some(50.0)), "within the same tick");
    *machine.0.lock() = 13;
    assert_eq!(cpu(), (Some(100.0 / 3.0), Some(100.0 - 100.0 / 3.0)));
}

#[test]
fn the_path_is_the_originals() {
    let url = |server, node| push_url(server, node).unwrap();
    assert_eq!(
        url("http://127.0.0.1:9091", "emqx@127.0.0.1"),
        "http://127.0.0.1:9091/metrics/job/emqx/instance/emqx~127.0.0.1"
    );
    assert_eq!(url("http://h/p/", "a@::1"), "http://h/p/metrics/job/a/instance/a~%3A%3A1");
}

#[test]
fn a_wrong_server_is_named_by_its_key_and_not_shown() {
    let statsd = Statsd::new(
        &Broker::builder().build().unwrap(),
        Arc::new(Ticks(Mutex::new(0))),
        "emqx@127.0.0.1",
    );
    for server in ["me:secret@h", "http://me:secret@", "http://me:secret@h?a=1", "ftp://secret"] {
        let config = StatsdConfig { server: server.into(), ..StatsdConfig::default() };
        assert!(!format!("{config:?}").contains("secret"));
        let plugins = PluginsConfig { statsd: config, ..PluginsConfig::default() };
        let error = statsd.prepare(&plugins).err().unwrap();
        assert!(error.starts_with("statsd.push.gateway.server: "), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

/// The half that connecting may take is part of the whole.
#[test]
fn a_request_takes_no_longer_than_an_interval() {
    let whole = |interval| {
        let options = options(Duration::from_millis(interval));
        options.connect_timeout + options.request_timeout
    };
    assert_eq!(whole(1_000), Duration::from_secs(1));
    assert_eq!(whole(15_000), Duration::from_secs(10));
}
