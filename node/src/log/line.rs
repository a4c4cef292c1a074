//! One line of the log: an event, a few fields, and two ways to write them.
//!
//! Invariants: a line has no control character but its end; a text from a client can't look like another field, for whoever
//! reads the line from left to right, and for the fail2ban filter that ships.

use crate::config::{LogFormat, LogLevel};
use crate::metrics::AUTH_RESULTS;
use mailstore::face::{DeliveryId, InternalDate, LogEvent, Protocol, ReceivedEvent, SessionCounts};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Text(Cow<'a, str>),
    Number(u64),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

/// A line before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub level: LogLevel,
    /// A few fixed words.
    pub what: &'a str,
    pub fields: Vec<(&'static str, Value<'a>)>,
}

/// How a level is called.
pub const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
    }
}

/// The level an event is written at.
pub const fn level_of(event: &LogEvent) -> LogLevel {
    match event {
        LogEvent::Connected { .. }
        | LogEvent::AuthSucceeded { .. }
        | LogEvent::Received(_)
        | LogEvent::Delivered { .. }
        | LogEvent::SessionEnded { .. }
        | LogEvent::Administered { .. }
        | LogEvent::Swept { .. } => LogLevel::Info,
        LogEvent::AuthFailed { .. }
        | LogEvent::Refused { .. }
        | LogEvent::DeliveryDelayed { .. } => LogLevel::Warn,
        LogEvent::Trouble { .. } => LogLevel::Error,
    }
}

/// The queue id as the client was told it, and as every line shows it.
fn queue_id(id: DeliveryId) -> String {
    format!("{:032x}", id.0)
}

/// The line of an event.
pub fn line_of(event: &LogEvent) -> Line<'_> {
    let (what, fields): (&str, Vec<(&'static str, Value<'_>)>) = match event {
        LogEvent::Connected { protocol, ip } => {
            ("connect", vec![("proto", protocol.name().into()), ("ip", ip.to_string().into())])
        }
        LogEvent::AuthFailed { protocol, user, ip, reason } => {
            let mut fields = log_in(*protocol, user, ip);
            fields.push(("reason", AUTH_RESULTS[crate::metrics::auth_result(*reason)].into()));
            ("auth failed", fields)
        }
        LogEvent::AuthSucceeded { protocol, user, ip } => ("auth", log_in(*protocol, user, ip)),
        LogEvent::Received(event) => ("received", received(event)),
        LogEvent::Delivered { queue_id: id, mailbox, folder, uid, delay_ms } => {
            let fields = vec![
                ("queue-id", queue_id(*id).into()),
                ("mailbox", (&**mailbox).into()),
                ("folder", folder.as_str().into()),
                ("uid", u64::from(uid.0).into()),
                ("delay-ms", (*delay_ms).into()),
            ];
            ("delivered", fields)
        }
        LogEvent::Refused { protocol, ip, recipient, reply } => {
            let fields = vec![
                ("proto", protocol.name().into()),
                ("ip", ip.to_string().into()),
                ("to", recipient.as_str().into()),
                ("reply", reply.trim_end().into()),
            ];
            ("refused", fields)
        }
        LogEvent::SessionEnded { protocol, ip, user, counts } => {
            ("session end", session_end((*protocol, ip), user.as_deref(), counts))
        }
        LogEvent::Administered { change } => ("changed", vec![("what", change.as_str().into())]),
        LogEvent::DeliveryDelayed { queue_id: id, mailbox, attempts, reason } => {
            let fields = vec![
                ("queue-id", queue_id(*id).into()),
                ("mailbox", (&**mailbox).into()),
                ("attempts", u64::from(*attempts).into()),
                ("reason", reason.as_str().into()),
            ];
            ("delivery delayed", fields)
        }
        LogEvent::Swept { blobs_renewed, blobs_collected, elapsed_ms } => {
            let fields = vec![
                ("blobs-renewed", (*blobs_renewed).into()),
                ("blobs-collected", (*blobs_collected).into()),
                ("elapsed-ms", (*elapsed_ms).into()),
            ];
            ("swept", fields)
        }
        LogEvent::Trouble { part, user: _, what } => {
            ("trouble", vec![("part", (*part).into()), ("what", what.as_str().into())])
        }
    };
    Line { level: level_of(event), what, fields }
}

fn log_in<'a>(protocol: Protocol, user: &'a str, ip: &IpAddr) -> Vec<(&'static str, Value<'a>)> {
    vec![("proto", protocol.name().into()), ("user", user.into()), ("ip", ip.to_string().into())]
}

fn received(event: &ReceivedEvent) -> Vec<(&'static str, Value<'_>)> {
    let tls = match &event.tls {
        Some(tls) => format!("{}:{}", tls.version, tls.cipher),
        None => "none".to_owned(),
    };
    vec![
        ("queue-id", queue_id(event.queue_id).into()),
        ("ip", event.ip.to_string().into()),
        ("helo", event.helo.as_str().into()),
        ("from", event.reverse_path.as_str().into()),
        ("to", event.recipients.join(",").into()),
        ("size", event.bytes.into()),
        ("message-id", event.message_id.as_str().into()),
        ("tls", tls.into()),
    ]
}

fn session_end<'a>(
    (protocol, ip): (Protocol, &IpAddr),
    user: Option<&'a str>,
    counts: &SessionCounts,
) -> Vec<(&'static str, Value<'a>)> {
    let mut fields = vec![("proto", protocol.name().into()), ("ip", ip.to_string().into())];
    fields.extend(user.map(|user| ("user", user.into())));
    fields.extend([
        ("commands", counts.commands.into()),
        ("errors", counts.errors.into()),
        ("bytes-in", counts.bytes_in.into()),
        ("bytes-out", counts.bytes_out.into()),
        ("messages", counts.messages.into()),
    ]);
    fields
}

impl Line<'_> {
    /// Writes the line and its end. `unix_ms`: milliseconds since 1970, UTC.
    pub fn write(&self, unix_ms: i64, format: LogFormat, out: &mut String) {
        match format {
            LogFormat::Text => self.write_text(unix_ms, out),
            LogFormat::Json => self.write_json(unix_ms, out),
        }
        out.push('\n');
    }

    /// As it is written as text, without time and level.
    pub fn text(&self) -> String {
        let mut text = String::new();
        self.write_rest(&mut text);
        text
    }

    fn write_text(&self, unix_ms: i64, out: &mut String) {
        write_time(unix_ms, out);
        out.push(' ');
        out.push_str(level_name(self.level));
        out.push(' ');
        self.write_rest(out);
    }

    fn write_rest(&self, out: &mut String) {
        out.push_str(self.what);
        for (key, value) in &self.fields {
            out.push(' ');
            out.push_str(key);
            out.push('=');
            match value {
                Value::Text(text) if is_bare(text) => out.push_str(text),
                Value::Text(text) => quote(text, out),
                Value::Number(number) => write!(out, "{number}").expect("a string takes all"),
            }
        }
    }

    fn write_json(&self, unix_ms: i64, out: &mut String) {
        out.push_str("{\"time\":\"");
        write_time(unix_ms, out);
        out.push_str("\",\"level\":\"");
        out.push_str(level_name(self.level));
        out.push_str("\",\"event\":");
        quote(self.what, out);
        for (key, value) in &self.fields {
            out.push(',');
            quote(key, out);
            out.push(':');
            match value {
                Value::Text(text) => quote(text, out),
                Value::Number(number) => write!(out, "{number}").expect("a string takes all"),
            }
        }
        out.push('}');
    }
}

/// RFC 3339, UTC, milliseconds.
fn write_time(unix_ms: i64, out: &mut String) {
    let unix_seconds = unix_ms.div_euclid(1000);
    let (year, month, day, hour, minute, second) =
        InternalDate { unix_seconds, zone_minutes: 0 }.civil();
    let ms = unix_ms.rem_euclid(1000);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
        .expect("a string takes all");
}

/// A time as the log has it.
#[must_use]
pub fn time_text(unix_ms: i64) -> String {
    let mut text = String::new();
    write_time(unix_ms, &mut text);
    text
}

/// What happened and its fields, as the log has them.
#[must_use]
pub fn text_of(what: &str, fields: &[(&str, &str)]) -> String {
    let mut text = what.to_owned();
    for (key, value) in fields {
        text.push(' ');
        text.push_str(key);
        text.push('=');
        if is_bare(value) { text.push_str(value) } else { quote(value, &mut text) }
    }
    text
}

/// Whether a text needs no quotes: no blank, nothing that must be escaped, not empty.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c > ' ' && c != '"' && c != '\\' && !is_unsafe(c))
}

/// Control characters, line ends of Unicode, and what turns the direction of text around.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A JSON string, whatever the format: RFC 8259 section 7.
fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_unsafe(c) => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes all");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::face::{AuthRefusal, TlsInfo};

    fn written(event: &LogEvent, format: LogFormat) -> String {
        let mut out = String::new();
        line_of(event).write(1_795_237_012_345, format, &mut out);
        out
    }

    fn auth_failed(user: &str) -> LogEvent {
        LogEvent::AuthFailed {
            protocol: Protocol::Imap,
            user: user.to_owned(),
            ip: "192.0.2.1".parse().expect("an address"),
            reason: AuthRefusal::WrongCredentials,
        }
    }

    #[test]
    fn a_failed_log_in_is_one_line() {
        assert_eq!(
            written(&auth_failed("ann@demo.test"), LogFormat::Text),
            "2026-11-21T04:56:52.345Z warn auth failed proto=imap user=ann@demo.test \
             ip=192.0.2.1 reason=wrong-credentials\n"
        );
    }

    #[test]
    fn what_a_client_sends_cannot_look_like_a_field_or_a_line() {
        let user = "x ip=198.51.100.9 reason=wrong-credentials\r\n\u{1b}[31m\"\u{202e}";
        let text = written(&auth_failed(user), LogFormat::Text);
        assert_eq!(text.matches('\n').count(), 1);
        let quoted = r#"user="x ip=198.51.100.9 reason=wrong-credentials\r\n\u001b[31m\"\u202e" ip=192.0.2.1"#;
        assert!(text.contains(quoted), "{text}");
        let json = written(&auth_failed(user), LogFormat::Json);
        let parsed: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(parsed["user"], user);
        assert_eq!(parsed["ip"], "192.0.2.1");
        assert_eq!(parsed["event"], "auth failed");
    }

    #[test]
    fn a_received_message_shows_its_envelope() {
        let event = LogEvent::Received(Box::new(ReceivedEvent {
            queue_id: DeliveryId(0xab),
            ip: "::1".parse().expect("an address"),
            helo: "client.example".to_owned(),
            reverse_path: String::new(),
            recipients: vec!["a@x".to_owned(), "b@x".to_owned()],
            bytes: 4711,
            message_id: "id@x".to_owned(),
            tls: Some(TlsInfo { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" }),
        }));
        assert_eq!(
            written(&event, LogFormat::Text),
            "2026-11-21T04:56:52.345Z info received queue-id=000000000000000000000000000000ab \
             ip=::1 helo=client.example from=\"\" to=a@x,b@x size=4711 message-id=id@x \
             tls=TLSv1.3:TLS_AES_128_GCM_SHA256\n"
        );
    }
}
