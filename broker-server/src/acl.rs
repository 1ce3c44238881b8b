//! The file of access rules with the broker that asks it.

use std::path::Path;
use std::sync::Arc;

use broker_core::Broker;
use broker_core::extension::Authorizer;
use broker_mgmt::ports::AclRules;
use broker_plugins::AclFile;

/// `acl_file`.
#[derive(Clone)]
pub(crate) struct Acl {
    file: Arc<AclFile>,
}

impl Acl {
    pub(crate) fn load(path: &Path) -> anyhow::Result<Self> {
        Ok(Self { file: Arc::new(AclFile::load(path)?) })
    }

    /// To stand at the end of the chain: plugins are put before what was there first.
    pub(crate) fn authorizer(&self) -> Arc<dyn Authorizer> {
        Arc::clone(&self.file) as Arc<dyn Authorizer>
    }

    /// For the management API and SIGHUP.
    pub(crate) fn with(self, broker: &Arc<Broker>) -> Arc<Reloadable> {
        log::info!("access rules read file={:?} rules={}", self.file.path(), self.file.n_rules());
        Arc::new(Reloadable { file: self.file, broker: Arc::clone(broker) })
    }
}

pub(crate) struct Reloadable {
    file: Arc<AclFile>,
    broker: Arc<Broker>,
}

impl AclRules for Reloadable {
    fn reload(&self) -> Result<usize, String> {
        let n_rules = self.file.reload().map_err(|error| error.to_string())?;
        self.broker.forget_rights();
        Ok(n_rules)
    }
}
