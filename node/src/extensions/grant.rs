//! What the token of an extension opens.

use crate::config::{EventKind, Extension, Verb};
use crate::private_file;
use anyhow::{Context, bail};
use events::Kinds;
use mailstore::face::{Scope, Subscriber};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tonic::Status;

/// Who calls, and what it may do.
pub struct Grant {
    pub subscriber: Subscriber,
    pub scope: Scope,
    pub kinds: Kinds,
    verbs: Vec<Verb>,
    /// As in the `authorization` header.
    header: String,
}

impl Grant {
    /// Whether it may do this.
    ///
    /// # Errors
    /// With the key of the configuration that would allow it.
    pub fn allow(&self, verb: Verb) -> Result<(), Status> {
        if self.verbs.contains(&verb) {
            return Ok(());
        }
        let name = self.subscriber.as_str();
        Err(Status::permission_denied(format!(
            "extensions.{name}.verbs does not name {}",
            match verb {
                Verb::Subscribe => "subscribe",
                Verb::Fetch => "fetch",
                Verb::Update => "update",
                Verb::Decide => "decide",
            }
        )))
    }
}

/// The grants of all extensions of the file.
pub struct Grants(Vec<Arc<Grant>>);

impl Grants {
    /// Reads the tokens; those of which there is no file are made.
    ///
    /// # Errors
    /// A file can't be read or made, is open to others, or holds no token; or two extensions have the same.
    pub fn load(extensions: &BTreeMap<String, Extension>, data: &Path) -> anyhow::Result<Self> {
        let mut grants: Vec<Arc<Grant>> = Vec::new();
        for (name, extension) in extensions {
            let subscriber = Subscriber::new(name).context("the file was checked")?;
            let token = match &extension.token {
                Some(token) => token.clone(),
                None => token_of_file(&token_file(name, extension, data))?,
            };
            let header = format!("Bearer {token}");
            if let Some(other) = grants.iter().find(|grant| grant.header == header) {
                bail!("extensions.{name} has the token of {}", other.subscriber.as_str());
            }
            let kind = |kind| extension.events.contains(&kind);
            grants.push(Arc::new(Grant {
                subscriber,
                scope: extension.scope(),
                kinds: Kinds {
                    arrived: kind(EventKind::Arrived),
                    flagged: kind(EventKind::Flagged),
                    vanished: kind(EventKind::Vanished),
                },
                verbs: extension.verbs.clone(),
                header,
            }));
        }
        Ok(Self(grants))
    }

    /// Who shows this header. Takes the same time wherever a difference is.
    #[must_use]
    pub fn of(&self, header: &[u8]) -> Option<Arc<Grant>> {
        let shows = |grant: &&Arc<Grant>| bool::from(header.ct_eq(grant.header.as_bytes()));
        self.0.iter().filter(shows).fold(None, |_, grant| Some(Arc::clone(grant)))
    }
}

fn token_file(name: &str, extension: &Extension, data: &Path) -> PathBuf {
    let default = || data.join("extensions").join(format!("{name}.token"));
    extension.token_file.clone().unwrap_or_else(default)
}

fn token_of_file(path: &Path) -> anyhow::Result<String> {
    use std::os::unix::fs::PermissionsExt;
    if let Some(bytes) = private_file::read(path)? {
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            bail!("{} is a token that others may read: `chmod 600` it", path.display());
        }
        let token = String::from_utf8_lossy(&bytes).trim().to_owned();
        if token.len() < 32 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            bail!("{} is no token; remove it and start the node again", path.display());
        }
        return Ok(token);
    }
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random numbers: {error}"))?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if let Some(dir) = path.parent()
        && !dir.exists()
    {
        private_file::ensure_dir(dir)?;
    }
    private_file::write(path, format!("{token}\n").as_bytes())?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn pager() -> BTreeMap<String, Extension> {
        let domains = vec!["example.org".to_owned()];
        let verbs = vec![Verb::Subscribe];
        BTreeMap::from([("pager".to_owned(), Extension { domains, verbs, ..Extension::default() })])
    }

    #[test]
    fn a_token_is_made_once_and_opens_what_it_is_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let grants = Grants::load(&pager(), dir.path()).expect("made");
        let path = dir.path().join("extensions/pager.token");
        let token = std::fs::read_to_string(&path).expect("written");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let header = format!("Bearer {}", token.trim());
        let again = Grants::load(&pager(), dir.path()).expect("read");
        for grants in [&grants, &again] {
            let grant = grants.of(header.as_bytes()).expect("opens");
            assert!(grant.allow(Verb::Subscribe).is_ok() && grant.allow(Verb::Update).is_err());
            assert!(grant.scope.holds("ann@example.org") && !grant.scope.holds("ann@example.net"));
            assert!(grants.of(b"Bearer ").is_none() && grants.of(token.as_bytes()).is_none());
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("set");
        assert!(Grants::load(&pager(), dir.path()).is_err(), "others may read it");
    }

    #[test]
    fn two_extensions_never_share_a_token() {
        let mut two = pager();
        let token = Some("0123456789abcdef0123456789abcdef".to_owned());
        two.insert("other".into(), Extension { token: token.clone(), ..Extension::default() });
        two.insert("third".into(), Extension { token, ..Extension::default() });
        let dir = tempfile::tempdir().expect("a directory");
        let error = Grants::load(&two, dir.path()).err().expect("refused").to_string();
        assert!(error.contains("third"), "{error}");
    }
}
