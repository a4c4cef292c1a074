//! The token that opens the admin API, and where a running node is found: two small files in the data directory.

use crate::private_file;
use std::io;
use std::path::Path;
use subtle::ConstantTimeEq;

/// In the data directory, mode 0600.
pub const TOKEN_FILE: &str = "admin.token";
/// In the data directory: the address the admin API listens on since the last start, for ports that the kernel chose.
pub const ADDRESS_FILE: &str = "admin.address";

/// What a client must show.
#[derive(Clone)]
pub struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token of a data directory; the first start makes it.
    ///
    /// # Errors
    /// The file can't be read or written, or the machine has no random numbers.
    pub fn load_or_make(data: &Path) -> io::Result<Self> {
        if let Some(token) = Self::load(data)? {
            return Ok(token);
        }
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
        let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        private_file::write(&data.join(TOKEN_FILE), format!("{token}\n").as_bytes())?;
        Ok(Self(token))
    }

    /// The token of a data directory; `None` before the first start.
    ///
    /// # Errors
    /// The file can't be read, or is no token.
    pub fn load(data: &Path) -> io::Result<Option<Self>> {
        let path = data.join(TOKEN_FILE);
        let Some(bytes) = private_file::read(&path)? else { return Ok(None) };
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        if text.len() < 32 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(io::Error::other(format!(
                "{} is no token; remove it and start the node again",
                path.display()
            )));
        }
        Ok(Some(Self(text)))
    }

    /// The value of the `authorization` header.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether this is the token; takes the same time wherever the difference is.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        text.as_bytes().ct_eq(self.0.as_bytes()).into()
    }

    /// Eight characters that tell tokens apart, and nothing of them.
    #[must_use]
    pub fn mark(&self) -> String {
        use sha2::{Digest, Sha256};
        let hash = Sha256::new().chain_update("mark of a token\0").chain_update(&self.0).finalize();
        hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
    }

    /// Whether a header shows this token; takes the same time wherever the difference is.
    #[must_use]
    pub fn is_shown_by(&self, header: &[u8]) -> bool {
        header.ct_eq(self.header().as_bytes()).into()
    }
}

/// Tells clients on this machine where the API listens.
///
/// # Errors
/// The file can't be written.
pub fn write_address(data: &Path, address: &str) -> io::Result<()> {
    private_file::write_volatile(&data.join(ADDRESS_FILE), format!("{address}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_made_once_and_only_it_is_accepted() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(Token::load(dir.path()).expect("readable").is_none());
        let made = Token::load_or_make(dir.path()).expect("made");
        let again = Token::load_or_make(dir.path()).expect("loaded");
        assert!(again.is_shown_by(made.header().as_bytes()));
        assert!(!again.is_shown_by(b"Bearer "));
        assert!(again.is(&made.0) && !again.is("") && !again.is(&made.header()));
        assert!(again.mark() == made.mark() && !made.0.contains(&made.mark()));
        assert!(!again.is_shown_by(made.0.as_bytes()));
        std::fs::write(dir.path().join(TOKEN_FILE), "").expect("written");
        assert!(Token::load(dir.path()).is_err());
    }
}
