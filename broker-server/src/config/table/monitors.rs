//! Keys of alarms: `[os_mon]`, `[vm_mon]`, `[alarm]`.

use super::super::field::Field;
use super::super::settings::Settings;
use super::super::value::Kind;
use super::root::{DAY_MS, HOUR_MS, key};
use super::{Access, Key, field};

pub(super) static KEYS: &[Key] = &[
    interval(
        "os_mon.cpu_check_interval",
        field!(monitor.cpu_interval_ms),
        "Time over which the use of the machine's processors is measured; 0 for never.",
    ),
    percent(
        "os_mon.cpu_high_watermark",
        field!(monitor.cpu.high),
        "From this use of the processors on there is the alarm cpu_high_watermark.",
    ),
    percent(
        "os_mon.cpu_low_watermark",
        field!(monitor.cpu.low),
        "Below this use of the processors it is over.",
    ),
    interval(
        "os_mon.mem_check_interval",
        field!(monitor.memory_interval_ms),
        "How often memory is looked at; 0 for never.",
    ),
    percent(
        "os_mon.sysmem_high_watermark",
        field!(monitor.system_memory_high),
        "With more of the machine's memory in use, or of the control group's, there is the alarm system_memory_high_watermark; what can be had without swapping is not in use.",
    ),
    percent(
        "os_mon.procmem_high_watermark",
        field!(monitor.process_memory_high),
        "With more of that memory held by the broker there is the alarm process_memory_high_watermark. The default of the original, 5%, is about a single Erlang process.",
    ),
    interval(
        "os_mon.fd_check_interval",
        field!(monitor.descriptors_interval_ms),
        "How often the broker's open files and sockets are counted; 0 for never.",
    ),
    percent(
        "os_mon.fd_high_watermark",
        field!(monitor.descriptors.high),
        "From this part of the limit of open files on there is the alarm file_descriptors_high_watermark.",
    ),
    percent(
        "os_mon.fd_low_watermark",
        field!(monitor.descriptors.low),
        "Below this part of that limit it is over.",
    ),
    interval(
        "os_mon.disk_check_interval",
        field!(monitor.disk_interval_ms),
        "How often the file system of node.data_dir is looked at; 0 for never.",
    ),
    percent(
        "os_mon.disk_high_watermark",
        field!(monitor.disk_high),
        "With more of it in use there is the alarm {disk_almost_full,\"<mount point>\"}; in the original the mark is 80 % and no key.",
    ),
    interval(
        "vm_mon.check_interval",
        field!(monitor.processes_interval_ms),
        "How often connections and threads are counted; 0 for never.",
    ),
    percent(
        "vm_mon.process_high_watermark",
        field!(monitor.processes.high),
        "From this part of the limit on there is the alarm too_many_processes. The original counts Erlang processes, one or two for each client; here it is process_used of process_available as GET /nodes tells them: connections of all listeners, and threads.",
    ),
    percent(
        "vm_mon.process_low_watermark",
        field!(monitor.processes.low),
        "Below this part of that limit it is over.",
    ),
    key(
        "alarm.history_size",
        Kind::Number(0, 100_000),
        field!(broker.alarms.history_max),
        "Alarms that are over and remembered.",
    ),
    key(
        "alarm.max_client_alarms",
        Kind::Number(0, 1_000),
        field!(broker.alarms.client_alarms_max),
        "Alarms queue_overflow/<client id> that there may be, and as many connection_congestion/<client id> and slow_subscriber/<client id>; further clients share one, without an id.",
    ),
    key(
        "alarm.congestion_after",
        Kind::Duration(0, HOUR_MS),
        field!(broker.alarms.congestion_after_ms),
        "A client's socket that takes less than is to be sent to it for so long is an alarm; send_timeout of its listener ends one that takes nothing.",
    ),
    key(
        "alarm.client_clear_after",
        Kind::Duration(1_000, HOUR_MS),
        field!(broker.alarms.client_clear_after_ms),
        "The alarm of a client is over when its cause has not been seen for so long.",
    ),
];

const fn percent(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    key(name, Kind::Percent, access, help)
}

const fn interval(name: &'static str, access: Access<Settings>, help: &'static str) -> Key {
    key(name, Kind::Duration(0, DAY_MS), access, help)
}
