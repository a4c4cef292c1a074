//! Fields of forms and queries.

use super::Trouble;
use super::login::Login;
use axum::body::Bytes;
use mailstore::face::UidSet;

/// Names and values, in order.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn read(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    pub fn push(&mut self, name: String, value: String) {
        self.0.push((name, value));
    }

    /// Empty when there is none.
    pub fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.all(name).next().unwrap_or_default()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub fn number(&self, name: &str) -> Option<u32> {
        self.get(name).parse().ok()
    }

    /// The fields of a form that a page of this log-in sent.
    pub fn of_form(login: &Login, body: &Bytes) -> Result<Self, Trouble> {
        let fields = Self::read(body);
        fields.checked(login)
    }

    /// Only with the token of the log-in.
    pub fn checked(self, login: &Login) -> Result<Self, Trouble> {
        if login.cookie.is_form_token(self.get("token")) { Ok(self) } else { Err(Trouble::Foreign) }
    }

    /// The messages that were chosen: `uid` one by one, or `uids` as ranges.
    pub fn uids(&self) -> UidSet {
        let one = |text: &str| text.parse::<u32>().ok().filter(|uid| *uid > 0);
        let lone = self.all("uid").filter_map(one).map(|uid| (uid, uid));
        let ranges = self.all("uids").flat_map(|text| text.split(',')).filter_map(|range| {
            let (first, last) = range.split_once(':').unwrap_or((range, range));
            Some((one(first)?, one(last)?)).filter(|(first, last)| first <= last)
        });
        UidSet::from_ranges(lone.chain(ranges).collect())
    }
}

/// A set as [`Fields::uids`] reads it.
pub fn ranges(uids: &UidSet) -> String {
    let range = |(first, last): &(u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}:{last}") }
    };
    uids.ranges().iter().map(range).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_messages() {
        let fields = Fields::read(b"uid=3&uid=5&uid=x&uids=7:9,12&uids=4:2&uid=0");
        assert_eq!(ranges(&fields.uids()), "3,5,7:9,12");
        assert_eq!(Fields::read(b"a=1&a=2&b=%20x+y").get("b"), " x y");
        assert!(Fields::default().uids().is_empty());
    }
}
