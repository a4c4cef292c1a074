//! The lines put before a message: Return-Path, Delivered-To, Received (RFC 5321 4.4). They go with the metadata of each
//! recipient; the bytes that were received stay as they were.

use bytes::Bytes;
use mailstore::face::{InternalDate, QueueId, TlsInfo};
use std::io::Write;
use std::net::IpAddr;

/// RFC 3848 and RFC 6531 4.3: what follows `with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Smtp,
    Esmtp,
    Lmtp,
}

/// Everything that Received tells.
#[derive(Debug)]
pub struct Trace<'a> {
    pub reverse_path: &'a str,
    /// The name the client greeted with.
    pub client: &'a str,
    pub ip: IpAddr,
    pub hostname: &'a str,
    pub transport: Transport,
    pub tls: Option<&'a TlsInfo>,
    /// RFC 3848: `A` when the client logged in.
    pub logged_in: bool,
    pub smtputf8: bool,
    pub queue_id: QueueId,
    pub date: InternalDate,
    /// Only when the transaction has one recipient: others must not learn of a Bcc.
    pub only_recipient: Option<&'a str>,
}

impl Trace<'_> {
    /// The prefix of the copy for the mailbox `delivered_to`.
    #[must_use]
    pub fn prefix(&self, delivered_to: &str) -> Bytes {
        let mut out = Vec::with_capacity(384 + self.reverse_path.len() + delivered_to.len());
        self.write(&mut out, delivered_to).expect("writing to memory does not fail");
        Bytes::from(out)
    }

    fn write(&self, out: &mut Vec<u8>, delivered_to: &str) -> std::io::Result<()> {
        // RFC 5321 4.4: Return-Path comes first, at final delivery.
        write!(out, "Return-Path: <{}>\r\n", self.reverse_path)?;
        write!(out, "Delivered-To: {delivered_to}\r\n")?;
        out.extend_from_slice(b"Received: from ");
        write_client(out, self.client);
        match self.ip {
            IpAddr::V4(ip) => write!(out, " ([{ip}])\r\n")?,
            IpAddr::V6(ip) => write!(out, " ([IPv6:{ip}])\r\n")?,
        }
        if let Some(tls) = self.tls {
            write!(out, "\t(using {} with cipher {})\r\n", tls.version, tls.cipher)?;
        }
        write!(out, "\tby {} (Hikyaku) with {} id {}", self.hostname, self.with(), self.queue_id)?;
        if let Some(recipient) = self.only_recipient {
            write!(out, "\r\n\tfor <{recipient}>")?;
        }
        out.extend_from_slice(b";\r\n\t");
        write_date(out, self.date)?;
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, LMTP ...; RFC 6531 4.3: UTF8SMTP, UTF8LMTP ....
    fn with(&self) -> String {
        let base = match (self.transport, self.smtputf8) {
            (Transport::Smtp, false) => "SMTP",
            (Transport::Esmtp, false) => "ESMTP",
            (Transport::Smtp | Transport::Esmtp, true) => "UTF8SMTP",
            (Transport::Lmtp, false) => "LMTP",
            (Transport::Lmtp, true) => "UTF8LMTP",
        };
        // RFC 3848 has no suffix for plain SMTP: TLS needs EHLO.
        let secure = if self.tls.is_some() { "S" } else { "" };
        let logged_in = if self.logged_in { "A" } else { "" };
        format!("{base}{secure}{logged_in}")
    }
}

/// What the client calls itself must not read as anything else in the field.
fn write_client(out: &mut Vec<u8>, client: &str) {
    for char in client.chars() {
        let plain = char.is_alphanumeric() || matches!(char, '.' | '-' | '_' | ':' | '[' | ']');
        let mut utf8 = [0; 4];
        let shown = if plain { char } else { '?' };
        out.extend_from_slice(shown.encode_utf8(&mut utf8).as_bytes());
    }
}

/// RFC 5322 3.3 date-time, as in `Sat, 21 Nov 2026 05:01:15 +0000`.
///
/// # Errors
/// Those of `out`.
pub fn write_date(out: &mut impl Write, date: InternalDate) -> std::io::Result<()> {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (year, month, day, hour, minute, second) = date.civil();
    // 1970-01-01 was a Thursday.
    let weekday = DAYS[date.day().rem_euclid(7) as usize % 7];
    let month = MONTHS[(month as usize + 11) % 12];
    let sign = if date.zone_minutes < 0 { '-' } else { '+' };
    let zone = date.zone_minutes.unsigned_abs();
    let (zone_hours, zone_minutes) = (zone / 60, zone % 60);
    write!(
        out,
        "{weekday}, {day} {month} {year} {hour:02}:{minute:02}:{second:02} \
         {sign}{zone_hours:02}{zone_minutes:02}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use mailstore::face::DeliveryId;
    use std::net::Ipv4Addr;

    #[test]
    fn trace_lines() {
        let tls = TlsInfo { version: "TLSv1.3", cipher: "TLS_AES_128_GCM_SHA256" };
        let date = InternalDate::from_civil((2026, 11, 1), (5, 1, 15), 0).expect("exists");
        let trace = Trace {
            reverse_path: "ann@a.example",
            client: "mx.a.example(x",
            ip: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            hostname: "mx.b.example",
            transport: Transport::Esmtp,
            tls: Some(&tls),
            logged_in: false,
            smtputf8: false,
            queue_id: DeliveryId(0).queue_id(),
            date,
            only_recipient: Some("Bob@b.example"),
        };
        let prefix = trace.prefix("bob@b.example");
        let expected = "Return-Path: <ann@a.example>\r\n\
            Delivered-To: bob@b.example\r\n\
            Received: from mx.a.example?x ([192.0.2.7])\r\n\
            \t(using TLSv1.3 with cipher TLS_AES_128_GCM_SHA256)\r\n\
            \tby mx.b.example (Hikyaku) with ESMTPS id 0000000000000000\r\n\
            \tfor <Bob@b.example>;\r\n\
            \tSun, 1 Nov 2026 05:01:15 +0000\r\n";
        assert_eq!(std::str::from_utf8(&prefix), Ok(expected));
    }
}
