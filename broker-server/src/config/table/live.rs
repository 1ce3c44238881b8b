//! Which keys can change while the broker runs.

use super::{Goes, Key};

impl Key {
    /// Whether it can change while the broker runs; another takes effect with a restart.
    pub(crate) fn is_live(&self) -> bool {
        match self.goes {
            Goes::Root(_) => LIVE.contains(&self.name),
            // For the connections to come.
            Goes::Zone { .. } | Goes::Subscription(_) => true,
            Goes::Listener { .. } | Goes::Account { .. } | Goes::Ignored(_) => false,
        }
    }

    /// Whether plugins find it changed in the file when they are reloaded.
    pub(crate) fn is_read_again(&self) -> bool {
        // Accounts are made as they are read.
        let is_account = matches!(self.goes, Goes::Account { .. });
        self.is_live() || is_account || self.is_of_file_alone()
    }

    /// Keys, files and servers that clients are held against, and the server that is told of them: not for whoever may
    /// use the API.
    pub(crate) fn is_of_file_alone(&self) -> bool {
        ["auth.jwt.", "auth.http.", "web.hook.", "statsd.push."]
            .iter()
            .any(|it| self.name.starts_with(it))
    }
}

/// Of the keys of the broker as a whole. None of them may be a secret: what is set is kept as it was sent.
const LIVE: &[&str] = &[
    "node.shutdown_timeout",
    "log.to",
    "log.level",
    "log.format",
    "log.targets",
    "broker.sys_interval",
    "broker.shared_subscription_strategy",
    "broker.shared_dispatch_ack_enabled",
    "broker.max_sessions",
    "retainer.max_retained_messages",
    "retainer.max_retained_bytes",
    "retainer.max_payload_size",
    "retainer.expiry_interval",
    "delayed.max_delayed_messages",
    "delayed.max_delayed_bytes",
    "module.presence.enabled",
    "module.presence.qos",
    "module.subscription.enabled",
    "module.rewrite.enabled",
    "module.rewrite.rule",
    "module.slow_subs.enabled",
    "module.slow_subs.threshold",
    "module.slow_subs.top_k_num",
    "module.slow_subs.expire_interval",
    "auth.client.password_hash",
    "auth.user.password_hash",
    "auth.jwt.from",
    "auth.jwt.jwks_refresh_interval",
    "auth.jwt.verify_claims",
    "auth.jwt.leeway",
    "recon.gc_interval",
    "statsd.interval",
    "statsd.api.enabled",
    "os_mon.cpu_high_watermark",
    "os_mon.cpu_low_watermark",
    "os_mon.sysmem_high_watermark",
    "os_mon.procmem_high_watermark",
    "os_mon.fd_high_watermark",
    "os_mon.fd_low_watermark",
    "os_mon.disk_high_watermark",
    "vm_mon.process_high_watermark",
    "vm_mon.process_low_watermark",
    "limits.user.max_connections",
    "limits.user.max_conn_rate",
    "limits.user.max_sessions",
    "limits.user.messages_in",
    "limits.user.bytes_in",
    "limits.user.messages_out",
    "limits.user.bytes_out",
    "limits.user.retained_in",
    "limits.user.max_subscriptions_total",
    "limits.user.max_mqueue_bytes_total",
    "limits.ip.max_connections",
    "limits.ip.max_conn_rate",
    "limits.ip.messages_in",
    "limits.ip.bytes_in",
    "limits.ip.messages_out",
    "limits.ip.bytes_out",
    "limits.ip.retained_in",
    "limits.ip.max_subscriptions_total",
    "limits.ip.max_mqueue_bytes_total",
];

#[cfg(test)]
mod tests {
    use super::super::keys;
    use super::*;

    #[test]
    fn every_name_is_that_of_a_key_without_a_secret() {
        for name in LIVE {
            let key = keys().find(|key| key.name == *name && matches!(key.goes, Goes::Root(_)));
            assert!(key.is_some_and(Key::is_live), "{name}");
        }
        assert!(keys().filter(|key| key.is_live()).all(|key| !key.is_secret()));
    }
}
