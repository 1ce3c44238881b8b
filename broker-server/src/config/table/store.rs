//! Keys of what survives the process: `[durability]`, `[store]`, `[wills]`.

use super::super::field::{Field, refuse};
use super::super::settings::Settings;
use super::super::store::parse_topics;
use super::super::value::{Kind, Value};
use super::root::{HOUR_MS, SIZE_MAX, key};
use super::{Access, Key, either, field};

pub(super) static KEYS: &[Key] = &[
    key(
        "durability.level",
        Kind::Word(&["fsync", "written", "memory"]),
        field!(broker.durability.level),
        "What an acknowledgement waits for: that the disk has the message, that the operating system has it, or nothing.",
    ),
    key(
        "durability.topics",
        Kind::List("\"<topic filter> <level>\", the level being fsync, written or memory"),
        TOPICS,
        "Levels of some topics; the strictest that matches goes before durability.level.",
    ),
    key(
        "durability.sync_interval",
        Kind::Duration(1, HOUR_MS),
        field!(store.sync_interval_ms),
        "How often the disk gets what no acknowledgement waits for: levels written and memory.",
    ),
    key(
        "durability.when_unavailable",
        Kind::Word(&["refuse", "wait"]),
        either!(broker.durability.refuse_when_unavailable, "refuse" = true, "wait" = false),
        "What happens to a message that cannot be written: Reason Code 0x97, or no answer until it can be.",
    ),
    key(
        "durability.on_failure",
        Kind::Word(&["read_only", "exit"]),
        field!(store.on_failure),
        "What follows when the disk fails for good: the broker goes on without taking what it would have to keep, or ends.",
    ),
    key(
        "durability.on_damage",
        Kind::Word(&["start", "stop"]),
        field!(store.on_damage),
        "What follows when the disk has lost what was safe: a start without it and an alarm, or none.",
    ),
    key(
        "store.enabled",
        Kind::Flag,
        field!(store.enabled),
        "Whether anything is kept in node.data_dir; if not, nothing survives a stop and nothing waits.",
    ),
    key(
        "store.segment_bytes",
        Kind::Size(1 << 20, 4 << 30),
        SEGMENT_BYTES,
        "Size of a file of the log, a multiple of 4KB, at least 4 x max_packet_size; a store keeps the one it was made with.",
    ),
    key(
        "store.spare_segments",
        Kind::Number(0, 1_024),
        field!(store.spare_segments),
        "Files of the log that are kept to be used again: writing into them takes half the time.",
    ),
    key(
        "store.snapshot_log_bytes",
        Kind::Size(1 << 20, SIZE_MAX),
        field!(store.snapshot_log_bytes),
        "A snapshot is made when the log has grown by so much, or by 3 x the last snapshot if that is more.",
    ),
    key(
        "store.log_min_bytes",
        Kind::Size(1 << 20, SIZE_MAX),
        field!(store.log_min_bytes),
        "Below this size of the log no message is copied to free a file.",
    ),
    key(
        "store.max_log_bytes",
        Kind::Size(1 << 20, SIZE_MAX),
        field!(store.max_log_bytes),
        "Size of the log; at 95 % what would have to be kept is refused, at 80 % there is an alarm.",
    ),
    key(
        "store.min_free_bytes",
        Kind::Size(0, SIZE_MAX),
        field!(store.min_free_bytes),
        "Free space that is left on the disk; below it what would have to be kept is refused.",
    ),
    key(
        "store.compact_bytes_per_s",
        Kind::Size(1 << 10, SIZE_MAX),
        field!(store.compact_bytes_per_s),
        "How fast messages are copied to free files of the log; 4 x that when the log is at 80 %.",
    ),
    key(
        "store.memory_bytes",
        Kind::Size(0, SIZE_MAX),
        field!(store.memory_bytes),
        "Messages held in memory; above it those of clients that are away are read from the disk again. 0 for a quarter of the memory.",
    ),
    key(
        "store.max_unsynced_bytes",
        Kind::Size(1 << 20, 16 << 30),
        field!(store.max_unsynced_bytes),
        "Bytes that wait for the disk; above it no more is read from clients.",
    ),
    key(
        "store.commit_pace",
        Kind::Duration(0, 1_000),
        field!(store.commit_pace_ms),
        "Least time between two writes while there is work; 0 for none.",
    ),
    key(
        "store.slow_sync",
        Kind::Duration(1, HOUR_MS),
        field!(store.slow_sync_ms),
        "There is an alarm when the disk takes longer than this.",
    ),
    key(
        "wills.keep",
        Kind::Word(&["none", "durable", "retained", "all"]),
        field!(broker.durability.wills_keep),
        "Whose Wills survive a crash: nobody's, those of durable sessions, those to be retained too, or all.",
    ),
    key(
        "wills.after_crash",
        Kind::Word(&["publish", "drop"]),
        either!(broker.durability.publish_wills_after_crash, "publish" = true, "drop" = false),
        "What happens to the Wills of clients that were connected when the broker died.",
    ),
];

const SEGMENT_BYTES: Access<Settings> = Access {
    read: |settings| Field::show(&settings.store.segment_bytes),
    write: |settings, value| {
        let bytes: u64 = Field::parse(value)?;
        if !bytes.is_multiple_of(BLOCK_BYTES) {
            return refuse("is no multiple of 4KB");
        }
        settings.store.segment_bytes = bytes;
        Ok(())
    },
};

/// What file systems and disks allot.
const BLOCK_BYTES: u64 = 4_096;

const TOPICS: Access<Settings> = Access {
    read: |settings| settings.broker.durability.topics.show(),
    write: |settings, value| {
        settings.broker.durability.topics = parse_topics(value)?;
        Ok(())
    },
};
