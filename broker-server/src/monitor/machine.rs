//! Machine: what Linux tells of processors, memory, descriptors and the disk.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use broker_core::Broker;
use broker_plugins::CpuTimes;
use rustix::process::{Resource, getrlimit};

use crate::config::MemoryLimit;
use crate::facts::{process_status, status_number};

/// What the checks ask. `None` is what cannot be found out.
pub(crate) trait Machine {
    fn cpu_times(&self) -> Option<CpuTimes>;
    fn memory(&self) -> Option<MemoryUse>;
    /// Connections and threads, and how many of both there may be.
    fn processes(&self) -> Option<(u64, u64)>;
    /// Descriptors that are open, and how many may be.
    fn descriptors(&self) -> Option<(u64, u64)>;
    /// Bytes of the file system of the data folder: in use, and all that the broker may use.
    fn disk(&self) -> Option<(u64, u64)>;
    /// Where that file system is mounted.
    fn mount_point(&self) -> &str;
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemoryUse {
    /// Without what can be had at once.
    pub(crate) used: u64,
    /// Of the machine, or of the control group if that has less.
    pub(crate) total: u64,
    /// Resident memory of this process.
    pub(crate) process: u64,
}

/// The machine that this runs on.
pub(crate) struct Real {
    broker: Arc<Broker>,
    data_dir: PathBuf,
    mount_point: String,
}

impl Real {
    pub(crate) fn new(broker: &Arc<Broker>, data_dir: &Path) -> Self {
        let data_dir = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mount_point = mount_point(&mounts, &data_dir);
        let mount_point = mount_point.unwrap_or_else(|| data_dir.display().to_string());
        Self { broker: Arc::clone(broker), data_dir, mount_point }
    }
}

impl Machine for Real {
    fn cpu_times(&self) -> Option<CpuTimes> {
        cpu_times()
    }

    fn memory(&self) -> Option<MemoryUse> {
        let (used, total) = memory()?;
        let process = status_number(&process_status(), "VmRSS:")? * 1024;
        Some(MemoryUse { used, total, process })
    }

    /// As `GET /nodes` has it.
    fn processes(&self) -> Option<(u64, u64)> {
        let threads = status_number(&process_status(), "Threads:")?;
        let listeners = self.broker.listeners()?.list();
        let connections: usize = listeners.iter().map(|listener| listener.connections).sum();
        let room: usize = listeners.iter().map(|listener| listener.max_connections).sum();
        Some((connections as u64 + threads, room as u64 + threads))
    }

    fn descriptors(&self) -> Option<(u64, u64)> {
        // Without a limit none is too many.
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Some((open_descriptors()?, limit))
    }

    fn disk(&self) -> Option<(u64, u64)> {
        let found = rustix::fs::statvfs(&self.data_dir).ok()?;
        // As df(1): what is kept back for root is in nobody's reach.
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        let total = used + found.f_bavail;
        Some((used.saturating_mul(found.f_frsize), total.saturating_mul(found.f_frsize)))
    }

    fn mount_point(&self) -> &str {
        &self.mount_point
    }
}

/// Time of all processors since the machine started.
pub(crate) fn cpu_times() -> Option<CpuTimes> {
    parse_cpu_times(&fs::read_to_string("/proc/stat").ok()?)
}

/// The first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal, and guests, which are in user
/// already.
fn parse_cpu_times(stat: &str) -> Option<CpuTimes> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks = line.split_whitespace().take(8).map(str::parse);
    let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
    let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
    let total: u64 = ticks.iter().sum();
    Some(CpuTimes { busy: total.saturating_sub(idle), total })
}

/// Bytes in use and bytes there are: of the machine, or of the control group where it may have less.
pub(crate) fn memory() -> Option<(u64, u64)> {
    let machine = parse_memory(&fs::read_to_string("/proc/meminfo").ok()?)?;
    Some(group_memory().filter(|(_, limit)| *limit < machine.1).unwrap_or(machine))
}

fn parse_memory(info: &str) -> Option<(u64, u64)> {
    let total = status_number(info, "MemTotal:")?;
    let available = status_number(info, "MemAvailable:")?;
    Some((total.saturating_sub(available) * 1024, total * 1024))
}

/// `node.memory_limit` in bytes; 0 for none.
pub(crate) fn memory_limit(configured: MemoryLimit) -> anyhow::Result<usize> {
    let bytes = match configured {
        MemoryLimit::Bytes(bytes) => bytes,
        MemoryLimit::Percent(percent) => {
            let (_, total) = memory().ok_or_else(|| {
                anyhow!(
                    "node.memory_limit: how much memory there is cannot be found out; give a size"
                )
            })?;
            total / 100 * u64::from(percent)
        }
    };
    Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
}

/// The same of the control groups that this process is in; `None` if none has a limit.
fn group_memory() -> Option<(u64, u64)> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    group_memory_in(Path::new("/sys/fs/cgroup"), &own)
}

/// Of the group with the smallest limit: its own, or one that it lies in. `own` is /proc/self/cgroup.
fn group_memory_in(groups: &Path, own: &str) -> Option<(u64, u64)> {
    let v2 = Hierarchy { limit: "memory.max", usage: "memory.current" };
    let v1 = Hierarchy { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes" };
    let found = own.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        match controllers {
            "" => v2.smallest(groups, path),
            list if list.split(',').any(|name| name == "memory") => {
                v1.smallest(&groups.join("memory"), path)
            }
            _ => None,
        }
    });
    found.min_by_key(|(_, limit)| *limit)
}

/// The files of a version of control groups.
struct Hierarchy {
    limit: &'static str,
    usage: &'static str,
}

impl Hierarchy {
    /// Bytes in use and the limit of the group with the smallest one, from `path` up to `root`.
    fn smallest(&self, root: &Path, path: &str) -> Option<(u64, u64)> {
        let names = Path::new(path).components().filter_map(|part| match part {
            Component::Normal(name) => Some(name),
            _ => None,
        });
        // In a container the path may be that of the host, of which nothing is to be seen but the group's own root.
        let own = names.fold(root.to_owned(), |folder, name| folder.join(name));
        let groups = own.ancestors().take_while(|folder| folder.starts_with(root));
        groups.filter_map(|folder| self.read(folder)).min_by_key(|(_, limit)| *limit)
    }

    /// Where there is no limit, version 2 has a word and version 1 a large number.
    fn read(&self, group: &Path) -> Option<(u64, u64)> {
        let read = |name: &str| fs::read_to_string(group.join(name)).ok();
        let bytes = |name: &str| read(name)?.trim().parse::<u64>().ok();
        let (limit, current) = (bytes(self.limit)?, bytes(self.usage)?);
        // Files that were read, and that the kernel drops first.
        let cached = status_number(&read("memory.stat").unwrap_or_default(), "inactive_file ");
        Some((current.saturating_sub(cached.unwrap_or(0)), limit))
    }
}

/// Since Linux 6.2 the size of that folder is their number; before, it is 0.
pub(crate) fn open_descriptors() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        // Without the one that the folder is read by.
        0 => Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1)),
        count => Some(count),
    }
}

/// The longest mount point in /proc/self/mountinfo that the path lies below.
fn mount_point(mounts: &str, path: &Path) -> Option<String> {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    // Blanks and the like are written in octal.
    let points = points.map(|point| {
        let point = point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n");
        point.replace("\\134", "\\")
    });
    points.filter(|point| path.starts_with(point)).max_by_key(String::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_processors_is_busy_but_for_idle_and_waiting() {
        let stat = "cpu  100 20 30 400 50 6 7 8 90 9\ncpu0 1 2 3 4 5\n";
        let times = parse_cpu_times(stat).unwrap();
        assert_eq!(times, CpuTimes { busy: 171, total: 621 });
        let later = CpuTimes { busy: 171 + 25, total: 621 + 100 };
        assert_eq!(later.busy_since(&times), Some(25.0));
        assert_eq!(times.busy_since(&times), None);
        assert_eq!(times.busy_since(&later), None, "a counter that went back");
        assert_eq!(parse_cpu_times("cpu  1 2 x 4\n"), None);
        assert_eq!(parse_cpu_times("intr 1\n"), None);
    }

    /// A folder as /sys/fs/cgroup.
    struct Groups(PathBuf);

    impl Groups {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("cgroup-{name}-{}", std::process::id())))
        }

        fn write(&self, group: &str, files: &[(&str, &str)]) {
            let folder = self.0.join(group);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), format!("{text}\n")).unwrap();
            }
        }

        fn memory(&self, own: &str) -> Option<(u64, u64)> {
            group_memory_in(&self.0, own)
        }
    }

    impl Drop for Groups {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_smallest_limit_of_nested_groups_counts() {
        let groups = Groups::new("v2");
        let v2 = |group: &str, max: &str, current: &str| {
            groups.write(group, &[("memory.max", max), ("memory.current", current)]);
        };
        assert_eq!(groups.memory("0::/\n"), None);
        // That of the machine as a whole has no such file.
        groups.write("", &[]);
        v2("system.slice", "4000", "900");
        v2("system.slice/broker.service", "max", "70");
        let own = "0::/system.slice/broker.service\n";
        assert_eq!(groups.memory(own), Some((900, 4_000)), "that of the group around it");
        v2("system.slice/broker.service", "3000", "70");
        assert_eq!(groups.memory(own), Some((70, 3_000)));
        v2("system.slice/other.service", "10", "1");
        assert_eq!(groups.memory(own), Some((70, 3_000)), "another's is none of ours");
        groups.write("system.slice/broker.service", &[("memory.stat", "file 9\ninactive_file 30")]);
        assert_eq!(groups.memory(own), Some((40, 3_000)));
        v2("system.slice", "max", "900");
        v2("system.slice/broker.service", "max", "70");
        assert_eq!(groups.memory(own), None, "no limit");
    }

    #[test]
    fn a_container_sees_its_group_at_the_root() {
        let groups = Groups::new("container");
        groups.write("", &[("memory.max", "2000"), ("memory.current", "50")]);
        for own in ["0::/\n", "0::/docker/0123\n", "0::/../../docker/0123\n"] {
            assert_eq!(groups.memory(own), Some((50, 2_000)), "{own}");
        }
    }

    #[test]
    fn a_group_of_version_1_has_a_folder_for_memory() {
        let groups = Groups::new("v1");
        let v1 = |group: &str, limit: &str, usage: &str| {
            let files = [("memory.limit_in_bytes", limit), ("memory.usage_in_bytes", usage)];
            groups.write(group, &files);
        };
        v1("memory", "9223372036854771712", "5000");
        v1("memory/docker/0123", "1000", "300");
        groups.write("memory/docker/0123", &[("memory.stat", "cache 7\ninactive_file 100")]);
        let own =
            "12:pids:/docker/0123\n9:memory:/docker/0123\n1:name=systemd:/docker/0123\n0::/x\n";
        assert_eq!(groups.memory(own), Some((200, 1_000)));
        assert_eq!(
            groups.memory("9:cpu,memory:/elsewhere\n"),
            Some((5_000, 9_223_372_036_854_771_712))
        );
        assert_eq!(groups.memory("9:cpu:/docker/0123\n"), None);
        // Both are there at a time of change: the smaller one binds.
        groups.write("x", &[("memory.max", "800"), ("memory.current", "60")]);
        assert_eq!(groups.memory(own), Some((60, 800)));
        assert_eq!(groups.memory("nonsense\n"), None);
    }

    #[test]
    fn a_limit_is_a_size_or_a_part_of_what_there_is() {
        assert_eq!(memory_limit(MemoryLimit::Bytes(5)).unwrap(), 5);
        let (half, all) = (memory_limit(MemoryLimit::Percent(50)), memory().unwrap().1);
        assert_eq!(half.unwrap() as u64, all / 100 * 50);
    }

    #[test]
    fn memory_that_is_available_is_not_in_use() {
        let info = "MemTotal:       1000 kB\nMemFree:  10 kB\nMemAvailable:    400 kB\n";
        assert_eq!(parse_memory(info), Some((600 * 1024, 1000 * 1024)));
        assert_eq!(parse_memory("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn a_path_lies_below_the_longest_mount_point_that_it_begins_with() {
        let mounts = "22 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
            30 22 8:2 / /var rw - ext4 /dev/b rw\n\
            31 22 8:3 / /var/li rw - ext4 /dev/c rw\n\
            32 30 8:4 / /var/my\\040data rw - ext4 /dev/d rw\n";
        let of = |path: &str| mount_point(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/var/lib/broker"), "/var");
        assert_eq!(of("/var/my data/x"), "/var/my data");
        assert_eq!(of("/home"), "/");
        assert_eq!(mount_point("", Path::new("/x")), None);
    }

    #[test]
    fn this_machine_is_measured() {
        let broker = Broker::builder().build().unwrap();
        let machine = Real::new(&broker, Path::new("."));
        let before = machine.cpu_times().unwrap();
        let later = std::iter::repeat_with(|| machine.cpu_times().unwrap());
        let later = later.take(10_000_000).find(|times| times.total > before.total).unwrap();
        assert!((0.0..=100.0).contains(&later.busy_since(&before).unwrap()));
        let memory = machine.memory().unwrap();
        assert!(memory.process > 1 << 20 && memory.process <= memory.used, "{memory:?}");
        assert!(memory.used < memory.total, "{memory:?}");
        let (used, total) = machine.disk().unwrap();
        assert!(used > 0 && used <= total);
        assert!(machine.mount_point().starts_with('/'));
        assert_eq!(machine.processes(), None, "nobody listens");
        let (open, limit) = machine.descriptors().unwrap();
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let (more, _) = machine.descriptors().unwrap();
        // Other tests open and close theirs meanwhile.
        assert!(more > open + 50 && more < limit, "{open} {more} {limit}");
        drop(files);
    }
}
