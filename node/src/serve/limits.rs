//! From the configuration to the limits of the machines.

use crate::config::{Config, Verb};
use std::sync::Arc;
use std::time::Duration;
use vspace::{AdmissionLimits, LiveLimits, SessionLimits, ShardConfig};

/// Puts what is configured into the limits of a shard, one of `groups`.
pub fn apply(config: &Config, groups: usize, shard: &mut ShardConfig) {
    shard.set_limits(live(config, groups));
    shard.directory.limits = Arc::new(mailstore::directory::Limits {
        verified_life: config.auth.cache_time.0,
        verified_max: config.auth.cache_entries as usize,
        ..mailstore::directory::Limits::default()
    });
    shard.mailbox = Arc::new(mailstore::mailbox::Limits {
        event_subscriptions: super::extensions::subscriptions(config),
        ..mailstore::mailbox::Limits::default()
    });
    shard.scrub = dds::scrub::Limits {
        period: config.store.scrub.0,
        // A share of nothing would be no limit at all.
        bytes_per_second: config.store.scrub_rate.0.div_ceil(groups.max(1) as u64),
        ..dds::scrub::Limits::default()
    };
}

/// What may change while the node runs, for one of `groups` shards.
pub fn live(config: &Config, groups: usize) -> LiveLimits {
    LiveLimits {
        sessions: sessions(config),
        imap_logins_max: config.limits.imap_connections_per_user as usize,
        admission: AdmissionLimits {
            delay_target: config.limits.queue_delay.0,
            bytes_max: config.limits.credit.0 / groups.max(1) as u64,
            waiting_max: config.stages.queue as usize,
            fixed_bytes: config.stages.fixed_credit.map(|size| size.0),
            ..AdmissionLimits::default()
        },
    }
}

/// How long a session waits for extensions that decide, should their own deadlines be forgotten.
fn deciding(config: &Config) -> Option<Duration> {
    let all = config.extensions.values().filter(|it| it.verbs.contains(&Verb::Decide));
    let longest = all.map(|it| it.deadline.0).max()?;
    Some(longest.saturating_add(Duration::from_secs(1)))
}

fn sessions(config: &Config) -> SessionLimits {
    let limits = &config.limits;
    SessionLimits {
        smtp: Arc::new(smtp::Limits {
            message_bytes_max: limits.message_size.0,
            recipients_max: limits.recipients as usize,
            idle: limits.smtp_idle.0,
            login: limits.login_time.0,
            deciding: deciding(config),
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
    }
}
