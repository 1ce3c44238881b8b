//! Checks: what is looked at when, and which alarm follows from what was found.

use broker_core::{Alarms, Judgement, Now, Report, Severity, Watermark};
use broker_plugins::CpuTimes;

use super::machine::Machine;
use crate::config::{Marks, MonitorConfig};

/// The checks of one machine.
pub(crate) struct Checks<M> {
    machine: M,
    /// Its marks may change; the intervals are those of the start.
    config: MonitorConfig,
    due: Vec<Due>,
    /// As they were at the check before.
    cpu_times: Option<CpuTimes>,
}

/// A check that is not off, and when it is due, on the monotonic clock.
struct Due {
    check: Check,
    interval_ms: u64,
    at_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Cpu,
    Memory,
    Processes,
    Descriptors,
    Disk,
}

impl<M: Machine> Checks<M> {
    /// Each is due for the first time when its interval has passed: what a start needs is over by then.
    pub(crate) fn new(config: &MonitorConfig, machine: M, now: Now) -> Self {
        let checks = [Check::Cpu, Check::Memory, Check::Processes, Check::Descriptors, Check::Disk];
        let intervals = checks.map(|check| (check, interval_ms(config, check)));
        let on = intervals.into_iter().filter(|(_, interval_ms)| *interval_ms > 0);
        let due = on.map(|(check, interval_ms)| {
            let at_ms = now.mono_ms + interval_ms;
            Due { check, interval_ms, at_ms }
        });
        let due = due.collect();
        Self { cpu_times: machine.cpu_times(), config: config.clone(), machine, due }
    }

    /// From now on other marks count.
    pub(crate) fn configure(&mut self, config: MonitorConfig) {
        self.config = config;
    }

    /// Makes those that are due. Returns when the next one is, on the monotonic clock; `None` if all are off.
    pub(crate) fn run(&mut self, now: Now, alarms: &Alarms) -> Option<u64> {
        let mut checks = Vec::new();
        for due in self.due.iter_mut().filter(|due| due.at_ms <= now.mono_ms) {
            due.at_ms = now.mono_ms + due.interval_ms;
            checks.push(due.check);
        }
        checks.into_iter().for_each(|check| self.make(check, now, alarms));
        self.due.iter().map(|due| due.at_ms).min()
    }

    /// What cannot be found out leaves its alarm as it is.
    fn make(&mut self, check: Check, now: Now, alarms: &Alarms) {
        let made = match check {
            Check::Cpu => self.check_cpu(now, alarms),
            Check::Memory => self.check_memory(now, alarms),
            Check::Processes => self.check_processes(now, alarms),
            Check::Descriptors => self.check_descriptors(now, alarms),
            Check::Disk => self.check_disk(now, alarms),
        };
        if made.is_none() {
            log::debug!("monitor: nothing to be found out about {check:?}");
        }
    }

    fn check_cpu(&mut self, now: Now, alarms: &Alarms) -> Option<()> {
        let times = self.machine.cpu_times()?;
        let before = self.cpu_times.replace(times)?;
        let busy = times.busy_since(&before)?;
        let marks = self.config.cpu;
        apply(alarms, CPU, watermark(marks).judge(busy), now, || {
            let summary = format!("the processors are busy {busy:.1}% of the time");
            marked(Report::new(Severity::Warning, "high CPU usage", summary), marks)
                .with_value(number(busy))
                .with_detail("busy_percent", number(busy))
        });
        Some(())
    }

    fn check_memory(&mut self, now: Now, alarms: &Alarms) -> Option<()> {
        let memory = self.machine.memory()?;
        let bytes = |report: Report, used: u64| {
            let report = report.with_detail("used_bytes", used.to_string());
            report.with_detail("total_bytes", memory.total.to_string())
        };
        let used = percent(memory.used, memory.total)?;
        let high = self.config.system_memory_high;
        apply(alarms, SYSTEM_MEMORY, above(used, high), now, || {
            let summary = format!("{used:.1}% of the machine's memory is in use");
            let report = Report::new(Severity::Warning, "high memory usage", summary);
            bytes(
                report.with_value(number(used)).with_detail("high_watermark", mark(high)),
                memory.used,
            )
        });
        let held = percent(memory.process, memory.total)?;
        let high = self.config.process_memory_high;
        apply(alarms, PROCESS_MEMORY, above(held, high), now, || {
            let summary = format!("the broker holds {held:.1}% of the machine's memory");
            let report = Report::new(Severity::Warning, "high memory usage of the broker", summary);
            let report = report.with_value(std::process::id().to_string());
            bytes(report.with_detail("high_watermark", mark(high)), memory.process)
        });
        Some(())
    }

    fn check_processes(&mut self, now: Now, alarms: &Alarms) -> Option<()> {
        let (used, limit) = self.machine.processes()?;
        let marks = self.config.processes;
        let part = percent(used, limit)?;
        apply(alarms, PROCESSES, watermark(marks).judge(part), now, || {
            let summary = format!("{used} connections and threads of {limit}");
            marked(Report::new(Severity::Warning, "too many connections", summary), marks)
                .with_value(used.to_string())
                .with_detail("used", used.to_string())
                .with_detail("limit", limit.to_string())
        });
        Some(())
    }

    fn check_descriptors(&mut self, now: Now, alarms: &Alarms) -> Option<()> {
        let (open, limit) = self.machine.descriptors()?;
        let marks = self.config.descriptors;
        let part = percent(open, limit)?;
        apply(alarms, DESCRIPTORS, watermark(marks).judge(part), now, || {
            let summary = format!("{open} files and sockets are open of {limit} that may be");
            marked(Report::new(Severity::Warning, "too many file descriptors", summary), marks)
                .with_detail("open", open.to_string())
                .with_detail("limit", limit.to_string())
        });
        Some(())
    }

    fn check_disk(&mut self, now: Now, alarms: &Alarms) -> Option<()> {
        let (used, total) = self.machine.disk()?;
        let part = percent(used, total)?;
        let high = self.config.disk_high;
        let mount = self.machine.mount_point();
        apply(alarms, &disk_alarm(mount), above(part, high), now, || {
            let summary = format!("{part:.1}% of the file system of node.data_dir is in use");
            Report::new(Severity::Warning, "disk almost full", summary)
                .with_value(number(part))
                .with_detail("high_watermark", mark(high))
                .with_detail("mount_point", mount)
                .with_detail("used_bytes", used.to_string())
                .with_detail("total_bytes", total.to_string())
        });
        Some(())
    }
}

const fn interval_ms(config: &MonitorConfig, check: Check) -> u64 {
    match check {
        Check::Cpu => config.cpu_interval_ms,
        Check::Memory => config.memory_interval_ms,
        Check::Processes => config.processes_interval_ms,
        Check::Descriptors => config.descriptors_interval_ms,
        Check::Disk => config.disk_interval_ms,
    }
}

fn apply(
    alarms: &Alarms,
    id: &str,
    judgement: Judgement,
    now: Now,
    report: impl FnOnce() -> Report,
) {
    match judgement {
        Judgement::Raise => drop(alarms.raise(id, report(), now.wall_ms)),
        Judgement::Clear => drop(alarms.clear(id, now.wall_ms)),
        Judgement::Stay => {}
    }
}

fn watermark(Marks { high, low }: Marks) -> Watermark {
    Watermark { high: high.into(), low: low.into() }
}

/// Where the original has one mark: above it is an alarm, up to it none.
fn above(value: f64, high: u8) -> Judgement {
    if value > f64::from(high) { Judgement::Raise } else { Judgement::Clear }
}

fn marked(report: Report, Marks { high, low }: Marks) -> Report {
    report.with_detail("high_watermark", mark(high)).with_detail("low_watermark", mark(low))
}

fn mark(percent: u8) -> String {
    format!("{percent}%")
}

/// With a point, as Erlang writes a float.
fn number(value: f64) -> String {
    format!("{value:?}")
}

/// `None` of nothing.
#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
fn percent(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 * 100.0 / whole as f64)
}

/// As Erlang writes the original's name, a pair.
fn disk_alarm(mount_point: &str) -> String {
    let text = mount_point.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{{disk_almost_full,\"{text}\"}}")
}

const CPU: &str = "cpu_high_watermark";
const SYSTEM_MEMORY: &str = "system_memory_high_watermark";
const PROCESS_MEMORY: &str = "process_memory_high_watermark";
const PROCESSES: &str = "too_many_processes";
const DESCRIPTORS: &str = "file_descriptors_high_watermark";

#[cfg(test)]
mod tests {
    use broker_core::Broker;
    use parking_lot::Mutex;

    use super::*;
    use crate::monitor::machine::MemoryUse;

    /// A machine as the test says.
    #[derive(Default)]
    struct Made {
        cpu: CpuTimes,
        memory: Option<MemoryUse>,
        processes: Option<(u64, u64)>,
        descriptors: Option<(u64, u64)>,
        disk: Option<(u64, u64)>,
    }

    impl Machine for &Mutex<Made> {
        fn cpu_times(&self) -> Option<CpuTimes> {
            Some(self.lock().cpu)
        }
        fn memory(&self) -> Option<MemoryUse> {
            self.lock().memory
        }
        fn processes(&self) -> Option<(u64, u64)> {
            self.lock().processes
        }
        fn descriptors(&self) -> Option<(u64, u64)> {
            self.lock().descriptors
        }
        fn disk(&self) -> Option<(u64, u64)> {
            self.lock().disk
        }
        fn mount_point(&self) -> &str {
            "/a b"
        }
    }

    const S: u64 = 1_000;

    struct World<'a> {
        machine: &'a Mutex<Made>,
        checks: Checks<&'a Mutex<Made>>,
        broker: std::sync::Arc<Broker>,
        now: Now,
    }

    impl<'a> World<'a> {
        fn new(machine: &'a Mutex<Made>, config: &MonitorConfig) -> Self {
            let now = Now { mono_ms: 5, us: 0, wall_ms: 1_700_000_000_000 };
            let broker = Broker::builder().build().unwrap();
            Self { machine, checks: Checks::new(config, machine, now), broker, now }
        }

        /// Lets time pass and returns the alarms that are up then, with their text.
        fn pass(&mut self, ms: u64) -> Vec<(String, Option<String>)> {
            self.now = self.now.plus_ms(ms);
            self.checks.run(self.now, self.broker.alarms());
            let alarms = self.broker.alarms().list();
            alarms.into_iter().map(|alarm| (alarm.id, alarm.report.value)).collect()
        }

        /// The processors are so busy for so long.
        fn busy(&mut self, percent: u64, s: u64) -> Vec<(String, Option<String>)> {
            let mut machine = self.machine.lock();
            machine.cpu.busy += percent * s;
            machine.cpu.total += 100 * s;
            drop(machine);
            self.pass(s * S)
        }
    }

    fn value(id: &str, value: &str) -> Vec<(String, Option<String>)> {
        vec![(id.into(), Some(value.into()))]
    }

    #[test]
    fn busy_processors_are_an_alarm_between_the_marks() {
        let machine = Mutex::new(Made::default());
        let mut world = World::new(&machine, &MonitorConfig::default());
        assert_eq!(world.busy(100, 59), [], "not before the interval is over");
        assert_eq!(world.busy(100, 1), value(CPU, "100.0"));
        assert_eq!(world.busy(79, 60), value(CPU, "100.0"), "it stays as it was");
        assert_eq!(world.busy(60, 60), value(CPU, "100.0"));
        assert_eq!(world.busy(80, 60), value(CPU, "80.0"), "it is said anew");
        assert_eq!(world.busy(59, 60), []);
        assert_eq!(world.busy(79, 60), [], "and is not raised below the high mark");
        let history = world.broker.alarms().history();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].cleared_ms - history[0].alarm.since_ms, 240 * S);
        // Time that has not passed says nothing.
        assert_eq!(world.pass(60 * S), []);
    }

    #[test]
    fn memory_has_one_mark_for_the_machine_and_one_for_the_broker() {
        let machine = Mutex::new(Made::default());
        let mut world = World::new(&machine, &MonitorConfig::default());
        let mut with = |used, process| {
            machine.lock().memory = Some(MemoryUse { used, total: 1_000, process });
            world.pass(60 * S)
        };
        assert_eq!(with(700, 600), []);
        assert_eq!(with(705, 600), value(SYSTEM_MEMORY, "70.5"));
        let pid = std::process::id().to_string();
        assert_eq!(with(700, 601), value(PROCESS_MEMORY, &pid));
        assert_eq!(with(0, 0), []);
        machine.lock().memory = None;
        assert_eq!(world.pass(60 * S), [], "what cannot be found out changes nothing");
    }

    #[test]
    fn connections_descriptors_and_the_disk_are_held_against_their_limits() {
        let machine = Mutex::new(Made::default());
        let mut world = World::new(&machine, &MonitorConfig::default());
        machine.lock().processes = Some((80, 100));
        assert_eq!(world.pass(30 * S), value(PROCESSES, "80"));
        machine.lock().processes = Some((59, 100));
        machine.lock().descriptors = Some((800, 1_000));
        assert_eq!(world.pass(30 * S), [(DESCRIPTORS.into(), None)]);
        let [alarm] = &world.broker.alarms().list()[..] else { panic!("one alarm") };
        assert_eq!(alarm.report.summary, "800 files and sockets are open of 1000 that may be");
        machine.lock().descriptors = Some((600, 1_000));
        assert_eq!(world.pass(30 * S).len(), 1);
        machine.lock().descriptors = Some((599, 1_000));
        machine.lock().disk = Some((81, 100));
        assert_eq!(world.pass(30 * 60 * S), value("{disk_almost_full,\"/a b\"}", "81.0"));
        machine.lock().disk = Some((80, 100));
        assert_eq!(world.pass(30 * 60 * S), []);
        // A limit of nothing is none.
        machine.lock().processes = Some((1, 0));
        assert_eq!(world.pass(30 * S), []);
    }

    #[test]
    fn marks_may_change() {
        let machine = Mutex::new(Made { descriptors: Some((50, 100)), ..Made::default() });
        let mut world = World::new(&machine, &MonitorConfig::default());
        assert_eq!(world.pass(30 * S), []);
        let descriptors = Marks { high: 50, low: 50 };
        world.checks.configure(MonitorConfig { descriptors, ..MonitorConfig::default() });
        assert_eq!(world.pass(30 * S).len(), 1);
        world.checks.configure(MonitorConfig::default());
        assert_eq!(world.pass(30 * S), []);
    }

    #[test]
    fn a_check_without_an_interval_is_never_made() {
        let machine = Mutex::new(Made { descriptors: Some((1, 1)), ..Made::default() });
        let off = MonitorConfig {
            cpu_interval_ms: 0,
            memory_interval_ms: 0,
            processes_interval_ms: 0,
            descriptors_interval_ms: 0,
            disk_interval_ms: 0,
            ..MonitorConfig::default()
        };
        let mut world = World::new(&machine, &off);
        assert_eq!(world.pass(u64::from(u32::MAX)), []);
        assert_eq!(world.checks.run(world.now, world.broker.alarms()), None);
        let one = MonitorConfig { descriptors_interval_ms: 7, ..off };
        let mut world = World::new(&machine, &one);
        assert_eq!(world.checks.run(world.now, world.broker.alarms()), Some(12));
        assert_eq!(world.pass(7).len(), 1);
    }
}
