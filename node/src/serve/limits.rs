//! From the configuration to the limits of the machines.

use crate::config::Config;
use std::sync::Arc;
use vspace::{AdmissionLimits, SessionLimits, ShardConfig};

/// Puts what is configured into the limits of a shard.
pub fn apply(config: &Config, shard: &mut ShardConfig) {
    let limits = &config.limits;
    shard.imap_logins_max = limits.imap_connections_per_user as usize;
    shard.sessions = SessionLimits {
        smtp: Arc::new(smtp::Limits {
            message_bytes_max: limits.message_size.0,
            recipients_max: limits.recipients as usize,
            idle: limits.smtp_idle.0,
            login: limits.login_time.0,
            ..smtp::Limits::default()
        }),
        pop3: Arc::new(pop3::Limits {
            idle: limits.pop3_idle.0,
            login: limits.login_time.0,
            ..pop3::Limits::default()
        }),
        imap: Arc::new(imap::Limits {
            append_bytes_max: limits.message_size.0,
            idle_time: limits.imap_idle.0,
            login_time: limits.login_time.0,
            ..imap::Limits::default()
        }),
    };
    shard.admission = AdmissionLimits {
        delay_target: limits.queue_delay.0,
        bytes_max: limits.credit.0,
        ..AdmissionLimits::default()
    };
    shard.directory.limits = Arc::new(mailstore::directory::Limits {
        verified_life: config.auth.cache_time.0,
        verified_max: config.auth.cache_entries as usize,
        ..mailstore::directory::Limits::default()
    });
}
