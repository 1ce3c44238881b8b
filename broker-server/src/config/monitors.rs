//! What the monitor of machine and process looks at: `[os_mon]` and `[vm_mon]`.

use super::error::ConfigError;
use super::settings::Settings;
use super::validate::wrong;

/// Intervals in milliseconds, 0 for never, and marks in percent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MonitorConfig {
    /// `os_mon.cpu_check_interval`.
    pub(crate) cpu_interval_ms: u64,
    /// `os_mon.cpu_high_watermark`, `os_mon.cpu_low_watermark`.
    pub(crate) cpu: Marks,
    /// `os_mon.mem_check_interval`.
    pub(crate) memory_interval_ms: u64,
    /// `os_mon.sysmem_high_watermark`.
    pub(crate) system_memory_high: u8,
    /// `os_mon.procmem_high_watermark`.
    pub(crate) process_memory_high: u8,
    /// `os_mon.fd_check_interval`.
    pub(crate) descriptors_interval_ms: u64,
    /// `os_mon.fd_high_watermark`, `os_mon.fd_low_watermark`.
    pub(crate) descriptors: Marks,
    /// `os_mon.disk_check_interval`.
    pub(crate) disk_interval_ms: u64,
    /// `os_mon.disk_high_watermark`.
    pub(crate) disk_high: u8,
    /// `vm_mon.check_interval`.
    pub(crate) processes_interval_ms: u64,
    /// `vm_mon.process_high_watermark`, `vm_mon.process_low_watermark`.
    pub(crate) processes: Marks,
}

/// An alarm is raised at the high mark and cleared below the low one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) high: u8,
    pub(crate) low: u8,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        let marks = Marks { high: 80, low: 60 };
        Self {
            cpu_interval_ms: 60_000,
            cpu: marks,
            memory_interval_ms: 60_000,
            system_memory_high: 70,
            process_memory_high: 60,
            descriptors_interval_ms: 30_000,
            descriptors: marks,
            disk_interval_ms: 30 * 60_000,
            disk_high: 80,
            processes_interval_ms: 30_000,
            processes: marks,
        }
    }
}

/// A low mark above its high one would raise and clear an alarm at once.
pub(crate) fn check(settings: &Settings, errors: &mut Vec<ConfigError>) {
    let MonitorConfig { cpu, descriptors, processes, .. } = settings.monitor;
    for (name, Marks { high, low }) in
        [("os_mon.cpu", cpu), ("os_mon.fd", descriptors), ("vm_mon.process", processes)]
    {
        if low <= high {
            continue;
        }
        let (high_key, low_key) =
            (format!("{name}_high_watermark"), format!("{name}_low_watermark"));
        // The one that was given is the one to correct.
        errors.push(if settings.given.contains_key(&low_key) {
            wrong(settings, low_key, format!("above {high_key} ({high}%)"))
        } else {
            wrong(settings, high_key, format!("below {low_key} ({low}%)"))
        });
    }
}
