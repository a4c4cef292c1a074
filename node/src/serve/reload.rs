//! SIGHUP: `[limits]`, `[log]` and `[tls]` anew. What can't be used is said in the log, and the old stays in force.
//!
//! At once: the log, the certificates of new handshakes, admission, the numbers of connections, the time to drain. Limits of
//! protocols hold for sessions from now on; sessions that stand keep what they began with.

use super::control::NodeControl;
use crate::config::{Config, LogLevel};
use crate::log::{LogWriter, note};
use crate::tls::TlsContext;
use std::path::PathBuf;
use std::sync::Arc;
use vspace::Inward;

/// What may change while the node runs.
pub struct Reloader {
    pub path: Option<PathBuf>,
    pub tls: Arc<TlsContext>,
    pub log: Arc<LogWriter>,
    pub control: Arc<NodeControl>,
}

impl Reloader {
    /// Reads the configuration again and applies what may change while the node runs.
    pub fn reload(&self) {
        let config = match Config::load(self.path.as_deref()) {
            Ok(config) => config,
            Err(error) => return refuse("configuration", &error),
        };
        if let Err(error) = self.log.reload(&config.log) {
            refuse("log", &error);
        }
        if let Err(error) = self.tls.reload(&config.tls) {
            refuse("tls", &error);
        }
        self.set_limits(config);
        note(LogLevel::Info, "reloaded", Vec::new());
    }

    fn set_limits(&self, mut config: Config) {
        // Only the limits: the stages are those that run.
        config.stages = self.control.config.stages;
        let bridge = &self.control.bridge;
        bridge.door.set_limits(&config.limits);
        for group in 0..bridge.groups() {
            let limits = Box::new(super::limits::live(&config, bridge.groups()));
            bridge.tell(group, Inward::LimitsAre(limits));
        }
        self.control.set_limits(config.limits);
    }
}

fn refuse(what: &str, error: &dyn std::fmt::Display) {
    let fields = vec![("part", what.to_owned()), ("reason", error.to_string())];
    note(LogLevel::Error, "reload failed, the old stays in force", fields);
}
