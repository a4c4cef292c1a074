//! SIGHUP: `[log]` and `[tls]` anew. What can't be used is said in the log, and the old stays in force.

use crate::config::{Config, LogLevel};
use crate::log::{LogWriter, note};
use crate::tls::TlsContext;
use std::path::Path;

/// Reads the configuration again and applies what may change while the node runs.
pub fn reload(path: Option<&Path>, tls: &TlsContext, log: &LogWriter) {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => return refuse("configuration", &error),
    };
    match log.reload(&config.log) {
        Ok(()) => {}
        Err(error) => refuse("log", &error),
    }
    match tls.reload(&config.tls) {
        Ok(()) => note(LogLevel::Info, "reloaded", Vec::new()),
        Err(error) => refuse("tls", &error),
    }
}

fn refuse(what: &str, error: &dyn std::fmt::Display) {
    let fields = vec![("part", what.to_owned()), ("reason", error.to_string())];
    note(LogLevel::Error, "reload failed, the old stays in force", fields);
}
