//! What resources with a remote side have in common: where they may connect to, where their buffers lie, and who
//! hears of losses.

mod address;
mod envelope;
#[cfg(test)]
pub(crate) mod fixture;
mod queue;
pub(crate) mod tls;
mod units;

pub use address::{AddressRange, AddressRules, BadAddressRange, Forbidden};
pub(crate) use address::{connect, look_up, probe};
pub(crate) use envelope::{Envelope, seal};
pub(crate) use queue::{queue_config, queue_params, retry_pauses};
pub(crate) use units::{parse_bytes, parse_duration};

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::action::Catalogue;
use crate::sink::{Clock, Remote, RemoteSink, SinkConfig, SinkListener};

/// What resources with a remote side need of the program around them.
#[derive(Clone)]
pub struct RemoteHost {
    /// Folder of the buffers, one folder in it for each resource; `None` keeps everything in memory.
    pub folder: Option<PathBuf>,
    /// Where the time is read.
    pub clock: Clock,
    /// Hears of what was dropped.
    pub listener: Arc<dyn SinkListener>,
    /// Name of this node, for `${node}` in a mountpoint.
    pub node: String,
    /// Where resources may connect to.
    pub addresses: Arc<AddressRules>,
    /// Sinks by resource: a new one takes up what the one before it holds.
    pub open: OpenSinks,
}

/// The sinks that are open, by the identifier of their resource.
#[derive(Clone, Default)]
pub struct OpenSinks(Arc<Mutex<HashMap<String, Weak<RemoteSink>>>>);

impl OpenSinks {
    /// Closes all of them, when the program ends: what they hold is written to disk.
    pub fn close(&self) {
        let sinks: Vec<_> = self.0.lock().drain().filter_map(|(_, sink)| sink.upgrade()).collect();
        RemoteSink::close_all(&sinks);
    }
}

impl RemoteHost {
    /// Puts the types with a remote side into the catalogue: `web_hook` and `bridge_mqtt`, and their actions.
    pub fn register(&self, catalogue: &mut Catalogue) {
        crate::web_hook::register(self, catalogue);
        crate::bridge_mqtt::register(self, catalogue);
    }

    /// Opens the sink of a resource, in the place of the one that it had.
    pub(crate) fn open_sink(
        &self,
        resource: &str,
        config: SinkConfig,
        remote: Box<dyn Remote>,
    ) -> Result<Arc<RemoteSink>, String> {
        let mut open = self.open.0.lock();
        open.retain(|_, sink| sink.strong_count() > 0);
        let former = open.get(resource).and_then(Weak::upgrade);
        let (clock, listener) = (Arc::clone(&self.clock), Arc::clone(&self.listener));
        // Fails before the one there is has been touched.
        let sink = RemoteSink::prepare(resource, config, remote, clock, listener)
            .map_err(|error| format!("buffer of {resource}: {error}"))?;
        sink.begin(former.as_deref());
        let sink = Arc::new(sink);
        open.insert(resource.to_owned(), Arc::downgrade(&sink));
        Ok(sink)
    }

    /// The folder of a resource's buffer.
    pub(crate) fn folder_of(&self, resource: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(folder_name(resource)))
    }
}

/// A name for a folder that is as good as the identifier: what a file system might not like is written in hexadecimal.
fn folder_name(resource: &str) -> String {
    let mut name = String::with_capacity(resource.len());
    for byte in resource.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') {
            name.push(char::from(byte));
        } else {
            name += &format!("%{byte:02x}");
        }
    }
    if name.len() > FOLDER_NAME_MAX {
        // Long names are rare, two of them that share a beginning and a checksum are not to be expected.
        name.truncate(FOLDER_NAME_MAX - 18);
        let bytes = resource.as_bytes();
        let reversed: Vec<_> = bytes.iter().rev().copied().collect();
        name += &format!("%{:08x}{:08x}", crc32fast::hash(bytes), crc32fast::hash(&reversed));
    }
    name
}

/// What file systems allow, less something.
const FOLDER_NAME_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_stay_inside_and_differ() {
        assert_eq!(folder_name("web_hook:w1"), "web_hook%3aw1");
        assert_eq!(folder_name("web_hook:../.."), "web_hook%3a%2e%2e%2f%2e%2e");
        let long = |end| folder_name(&("web_hook:".to_owned() + &"x".repeat(300) + end));
        assert!(long("a").len() <= FOLDER_NAME_MAX);
        assert_ne!(long("a"), long("b"));
    }
}
