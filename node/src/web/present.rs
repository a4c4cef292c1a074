//! Who has webmail open at this node: browsers that listen for what is new, or asked for something a moment ago. To operators
//! each is a session like those of mail programs.
//!
//! Invariants: nothing here proves anything, log-ins are in the MailStore; it is of this node alone, in memory; what is full
//! forgets nobody who listens, but does not count who comes.

use super::login::Login;
use crate::control::{Kick, SessionReport};
use mailstore::face::{Protocol, RecordName, SessionId, UserId};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a browser is on line after its last request. Our choice: a page that is read, or written on.
const PRESENT_TIME: Duration = Duration::from_secs(300);
/// Browsers that are counted. Our choice: 30 MB.
const BROWSERS_MAX: usize = 100_000;

/// A log-in: the user, and its record.
pub type Key = (UserId, RecordName);

/// What a request tells of the browser that it came from.
#[derive(Clone, Debug)]
pub struct Visit {
    /// Names the session, if this is its first request.
    pub session: SessionId,
    pub account: String,
    pub ip: IpAddr,
    pub tls: Option<String>,
}

#[derive(Debug)]
struct Browser {
    visit: Visit,
    since: Instant,
    last: Instant,
    /// Pages that listen.
    live: u32,
}

impl Browser {
    fn is_present(&self, now: Instant) -> bool {
        self.live > 0 || now.saturating_duration_since(self.last) < PRESENT_TIME
    }

    fn is_meant(&self, whom: &Kick) -> bool {
        match whom {
            Kick::Session(session) => self.visit.session == *session,
            Kick::Account(address) => self.visit.account.eq_ignore_ascii_case(address),
            Kick::Ip(ip) => self.visit.ip == *ip,
        }
    }

    fn report(&self, now: Instant) -> SessionReport {
        let activity = match self.live {
            0 => "webmail".to_owned(),
            1 => "webmail, live".to_owned(),
            pages => format!("webmail, live in {pages} windows"),
        };
        SessionReport {
            session: self.visit.session.0,
            protocol: Protocol::Http,
            ip: self.visit.ip,
            account: Some(self.visit.account.clone()),
            tls: self.visit.tls.clone(),
            connected_seconds: now.saturating_duration_since(self.since).as_secs(),
            idle_seconds: now.saturating_duration_since(self.last).as_secs(),
            bytes_in: 0,
            bytes_out: 0,
            activity,
        }
    }
}

#[derive(Debug, Default)]
pub struct Present(Mutex<HashMap<Key, Browser>>);

impl Present {
    fn browsers(&self) -> MutexGuard<'_, HashMap<Key, Browser>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A browser asked for something.
    pub fn saw(&self, key: Key, visit: Visit, now: Instant) {
        let mut browsers = self.browsers();
        if let Some(browser) = browsers.get_mut(&key).filter(|it| it.is_present(now)) {
            browser.visit = Visit { session: browser.visit.session, ..visit };
            browser.last = now;
            return;
        }
        if browsers.len() >= BROWSERS_MAX {
            browsers.retain(|_, browser| browser.is_present(now));
        }
        if browsers.len() < BROWSERS_MAX {
            browsers.insert(key, Browser { visit, since: now, last: now, live: 0 });
        }
    }

    /// It is signed out.
    pub fn forget(&self, key: &Key) {
        self.browsers().remove(key);
    }

    pub fn count(&self, now: Instant) -> u64 {
        self.browsers().values().filter(|browser| browser.is_present(now)).count() as u64
    }

    pub fn reports(&self, now: Instant) -> Vec<SessionReport> {
        let browsers = self.browsers();
        let present = browsers.values().filter(|browser| browser.is_present(now));
        present.map(|browser| browser.report(now)).collect()
    }

    /// Those whose sessions are to end.
    pub fn meant(&self, whom: &Kick, now: Instant) -> Vec<Key> {
        let browsers = self.browsers();
        let meant = browsers.iter().filter(|(_, it)| it.is_present(now) && it.is_meant(whom));
        meant.map(|(key, _)| key.clone()).collect()
    }
}

/// A page that listens, until it is dropped.
#[derive(Debug)]
pub struct Listening {
    present: Arc<Present>,
    key: Key,
    /// Whether the browser is among those that are counted.
    counted: bool,
}

impl Listening {
    pub fn of(login: &Login) -> Self {
        let (present, key) = (Arc::clone(&login.web.present), login.key());
        let counted = present.browsers().get_mut(&key).map(|browser| browser.live += 1).is_some();
        Self { present, key, counted }
    }

    /// The log-in has ended.
    pub fn forget(&self) {
        self.present.forget(&self.key);
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if self.counted
            && let Some(browser) = self.present.browsers().get_mut(&self.key)
        {
            browser.live = browser.live.saturating_sub(1);
            browser.last = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(user: u64) -> Key {
        (UserId(user), RecordName::new("a").expect("a short name"))
    }

    fn visit(session: u64) -> Visit {
        let account = "ann@example.org".to_owned();
        Visit { session: SessionId(session), account, ip: [192, 0, 2, 1].into(), tls: None }
    }

    #[test]
    fn a_browser_is_on_line_for_a_while_and_while_it_listens() {
        let (present, now) = (Present::default(), Instant::now());
        present.saw(key(1), visit(1), now);
        present.saw(key(1), visit(2), now + PRESENT_TIME / 2);
        let later = now + PRESENT_TIME;
        let report = &present.reports(later)[0];
        assert_eq!((report.session, report.connected_seconds, report.idle_seconds), (1, 300, 150));
        assert_eq!(present.count(later + PRESENT_TIME), 0);
        present.browsers().get_mut(&key(1)).expect("it is known").live = 1;
        assert_eq!(present.reports(later + PRESENT_TIME)[0].activity, "webmail, live");
        present.browsers().get_mut(&key(1)).expect("it is known").live = 0;
        // Who comes back after that begins anew.
        present.saw(key(1), visit(3), later + PRESENT_TIME);
        assert_eq!(present.reports(later + PRESENT_TIME)[0].session, 3);
    }

    #[test]
    fn those_who_are_meant_are_found() {
        let (present, now) = (Present::default(), Instant::now());
        present.saw(key(1), visit(1), now);
        present.saw(key(2), visit(2), now);
        let meant = |whom| present.meant(&whom, now).len();
        assert_eq!(meant(Kick::Session(SessionId(2))), 1);
        assert_eq!(meant(Kick::Account("Ann@example.org".to_owned())), 2);
        assert_eq!(meant(Kick::Ip([192, 0, 2, 2].into())), 0);
        present.forget(&key(1));
        assert_eq!(present.count(now), 1);
    }
}
