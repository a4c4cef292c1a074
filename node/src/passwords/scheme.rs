//! Stored forms of passwords: `$argon2id$...` is what this node makes; `{SCHEME}hash` is what other servers made.
//!
//! Invariants: comparisons take the same time wherever the difference is; what a stored form may cost is bounded, since it
//! may come from a foreign file.

use argon2::password_hash::{Output, PasswordHash, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// What one argon2id hash costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Argon2Cost {
    pub memory_kib: u32,
    pub iterations: u32,
}

impl Default for Argon2Cost {
    /// RFC 9106 section 4 allows less memory for more passes; 7 MiB and five passes is a form of it that OWASP names.
    fn default() -> Self {
        Self { memory_kib: 7 * 1024, iterations: 5 }
    }
}

/// Memory of the dearest hash that is accepted, in KiB. Our choice: a few at once must not take the machine.
const ARGON2_MEMORY_KIB_MAX: u32 = 1024 * 1024;
/// Passes of the dearest hash that is accepted. Our choice.
const ARGON2_ITERATIONS_MAX: u32 = 100;
/// Lanes of the dearest hash that is accepted. Our choice.
const ARGON2_LANES_MAX: u32 = 16;
/// log2 of rounds: 2^15 take about 3 s. Our choice.
const BCRYPT_COST_MAX: u32 = 15;
/// About 1 s. Our choice; the format allows 999,999,999.
const SHA512_ROUNDS_MAX: u32 = 1_000_000;
/// Bytes of the longest stored form, and of the longest password that is judged.
const STORED_BYTES_MAX: usize = 1024;
const SECRET_BYTES_MAX: usize = 4096;
/// Bytes of the salt and of the result. RFC 9106 section 3.1 recommends 16 for the salt.
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Why a stored form can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemeError {
    #[error(
        "the scheme {0:?} is not known; known are ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SSHA512 and PLAIN"
    )]
    UnknownScheme(String),
    #[error("this is no {0} hash")]
    Malformed(&'static str),
    #[error("judging this {0} hash would take too long; set a new password instead")]
    TooDear(&'static str),
    #[error("the password is longer than {SECRET_BYTES_MAX} bytes")]
    SecretTooLong,
}

/// A stored form whose scheme and cost are known to be fine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredHash<'a> {
    Argon2id(&'a str),
    Bcrypt(&'a str),
    Sha512Crypt(&'a str),
    Ssha512(&'a str),
    Plain(&'a str),
}

impl<'a> StoredHash<'a> {
    /// Reads `{SCHEME}hash`, or `$argon2id$...`, `$2b$...`, `$6$...` without it; scheme names compare without case.
    ///
    /// # Errors
    /// See [`SchemeError`].
    pub fn parse(stored: &'a str) -> Result<Self, SchemeError> {
        if stored.len() > STORED_BYTES_MAX {
            return Err(SchemeError::Malformed("stored"));
        }
        let Some(braced) = stored.strip_prefix('{') else {
            return Self::checked(Self::by_prefix(stored));
        };
        let Some((scheme, hash)) = braced.split_once('}') else {
            return Err(SchemeError::UnknownScheme(braced.chars().take(32).collect()));
        };
        let parsed = match scheme.to_ascii_uppercase().as_str() {
            "ARGON2ID" => Self::Argon2id(hash),
            "BLF-CRYPT" => Self::Bcrypt(hash),
            "SHA512-CRYPT" => Self::Sha512Crypt(hash),
            "SSHA512" | "SSHA512.B64" => Self::Ssha512(hash),
            "CRYPT" => Self::by_prefix(hash),
            "PLAIN" => Self::Plain(hash),
            _ => return Err(SchemeError::UnknownScheme(scheme.chars().take(32).collect())),
        };
        Self::checked(parsed)
    }

    /// Without the name of a scheme, as crypt(5) tells them apart. What is neither is then no argon2id hash.
    fn by_prefix(hash: &'a str) -> Self {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| hash.starts_with(prefix)) {
            Self::Bcrypt(hash)
        } else if hash.starts_with("$6$") {
            Self::Sha512Crypt(hash)
        } else {
            Self::Argon2id(hash)
        }
    }

    fn checked(self) -> Result<Self, SchemeError> {
        match self {
            Self::Argon2id(hash) => {
                let params = argon2_params(hash)?;
                let is_fine = params.m_cost() <= ARGON2_MEMORY_KIB_MAX
                    && params.t_cost() <= ARGON2_ITERATIONS_MAX
                    && params.p_cost() <= ARGON2_LANES_MAX;
                if is_fine { Ok(self) } else { Err(SchemeError::TooDear("ARGON2ID")) }
            }
            Self::Bcrypt(hash) => {
                let parts: bcrypt::HashParts =
                    hash.parse().map_err(|_| SchemeError::Malformed("BLF-CRYPT"))?;
                let is_fine = parts.get_cost() <= BCRYPT_COST_MAX;
                if is_fine { Ok(self) } else { Err(SchemeError::TooDear("BLF-CRYPT")) }
            }
            Self::Sha512Crypt(hash) => {
                let is_fine = sha512_rounds(hash)? <= SHA512_ROUNDS_MAX;
                if is_fine { Ok(self) } else { Err(SchemeError::TooDear("SHA512-CRYPT")) }
            }
            Self::Ssha512(hash) => ssha512_parts(hash).map(|_| self),
            Self::Plain(_) => Ok(self),
        }
    }

    /// Whether `secret` is the password. `memory` is kept between hashes by the thread that makes them.
    #[must_use]
    pub fn matches(self, secret: &[u8], memory: &mut Vec<Block>) -> bool {
        if secret.len() > SECRET_BYTES_MAX {
            return false;
        }
        match self {
            Self::Argon2id(hash) => argon2_matches(hash, secret, memory).unwrap_or(false),
            Self::Bcrypt(hash) => bcrypt::verify(secret, hash).unwrap_or(false),
            Self::Sha512Crypt(hash) => pwhash::sha512_crypt::verify(secret, hash),
            Self::Ssha512(hash) => match ssha512_parts(hash) {
                Ok((digest, salt)) => {
                    let made = Sha512::new().chain_update(secret).chain_update(salt).finalize();
                    made.ct_eq(&digest[..]).into()
                }
                Err(_) => false,
            },
            // Hashed first, so that not even the length shows.
            Self::Plain(plain) => Sha512::digest(secret).ct_eq(&Sha512::digest(plain)).into(),
        }
    }
}

/// Whether a stored form should be replaced at the next log-in: it is foreign, or cheaper to try than ours, in memory or in
/// blocks filled over all passes.
#[must_use]
pub fn needs_upgrade(stored: &str, cost: Argon2Cost) -> bool {
    match StoredHash::parse(stored) {
        Ok(StoredHash::Argon2id(hash)) => argon2_params(hash).map_or(true, |params| {
            let blocks = |memory_kib, passes| u64::from(memory_kib) * u64::from(passes);
            params.m_cost() < cost.memory_kib
                || blocks(params.m_cost(), params.t_cost())
                    < blocks(cost.memory_kib, cost.iterations)
        }),
        Ok(
            StoredHash::Bcrypt(_)
            | StoredHash::Sha512Crypt(_)
            | StoredHash::Ssha512(_)
            | StoredHash::Plain(_),
        )
        | Err(_) => true,
    }
}

/// A new stored form of `secret` under a random salt.
///
/// # Errors
/// `SecretTooLong`; `Malformed` when the machine gives no random numbers or the cost is impossible.
pub fn make(
    secret: &[u8],
    cost: Argon2Cost,
    memory: &mut Vec<Block>,
) -> Result<String, SchemeError> {
    if secret.len() > SECRET_BYTES_MAX {
        return Err(SchemeError::SecretTooLong);
    }
    let failed = SchemeError::Malformed("ARGON2ID");
    let mut salt = [0_u8; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_| failed.clone())?;
    let params = Params::new(cost.memory_kib, cost.iterations, 1, Some(HASH_BYTES))
        .map_err(|_| failed.clone())?;
    let output = argon2_raw(secret, &salt, params.clone(), memory).map_err(|_| failed)?;
    stored_form(&params, &salt, &output)
}

/// A stored form of no password at all: a random result. Judging a password by it takes as long as by any other.
///
/// # Errors
/// `Malformed` when the machine gives no random numbers or the cost is impossible.
pub fn decoy(cost: Argon2Cost) -> Result<String, SchemeError> {
    let failed = SchemeError::Malformed("ARGON2ID");
    let (mut salt, mut output) = ([0_u8; SALT_BYTES], [0_u8; HASH_BYTES]);
    getrandom::fill(&mut salt).map_err(|_| failed.clone())?;
    getrandom::fill(&mut output).map_err(|_| failed.clone())?;
    let params = Params::new(cost.memory_kib, cost.iterations, 1, Some(HASH_BYTES));
    stored_form(&params.map_err(|_| failed)?, &salt, &output)
}

fn stored_form(params: &Params, salt: &[u8], output: &[u8]) -> Result<String, SchemeError> {
    let failed = SchemeError::Malformed("ARGON2ID");
    let salt = SaltString::encode_b64(salt).map_err(|_| failed.clone())?;
    let made = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: params.try_into().map_err(|_| failed.clone())?,
        salt: Some(salt.as_salt()),
        hash: Some(Output::new(output).map_err(|_| failed)?),
    };
    Ok(made.to_string())
}

fn argon2_raw(
    secret: &[u8],
    salt: &[u8],
    params: Params,
    memory: &mut Vec<Block>,
) -> Result<Vec<u8>, argon2::Error> {
    let blocks = params.block_count();
    if memory.len() < blocks {
        memory.resize(blocks, Block::default());
    }
    let mut output = vec![0_u8; params.output_len().unwrap_or(HASH_BYTES)];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into_with_memory(secret, salt, &mut output, &mut memory[..blocks])?;
    Ok(output)
}

fn argon2_params(hash: &str) -> Result<Params, SchemeError> {
    let malformed = SchemeError::Malformed("ARGON2ID");
    let parsed = PasswordHash::new(hash).map_err(|_| malformed.clone())?;
    let is_version = matches!(parsed.version, None | Some(0x13));
    let is_complete = parsed.salt.is_some() && parsed.hash.is_some();
    if parsed.algorithm != Algorithm::Argon2id.ident() || !is_version || !is_complete {
        return Err(malformed);
    }
    Params::try_from(&parsed).map_err(|_| malformed)
}

fn argon2_matches(hash: &str, secret: &[u8], memory: &mut Vec<Block>) -> Option<bool> {
    let parsed = PasswordHash::new(hash).ok()?;
    let mut salt_bytes = [0_u8; 64];
    let salt = parsed.salt?.decode_b64(&mut salt_bytes).ok()?;
    let wanted = parsed.hash?;
    let params = Params::try_from(&parsed).ok()?;
    let made = argon2_raw(secret, salt, params, memory).ok()?;
    Some(made.ct_eq(wanted.as_bytes()).into())
}

/// Rounds of `$6$[rounds=N$]salt$hash`. Default 5,000.
fn sha512_rounds(hash: &str) -> Result<u32, SchemeError> {
    let malformed = SchemeError::Malformed("SHA512-CRYPT");
    let rest = hash.strip_prefix("$6$").ok_or(malformed.clone())?;
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (rounds, rest) = rest.split_once('$').ok_or(malformed.clone())?;
            (rounds.parse().map_err(|_| malformed.clone())?, rest)
        }
        None => (5000, rest),
    };
    let (salt, digest) = rest.split_once('$').ok_or(malformed.clone())?;
    // 86 characters of crypt's own base 64 carry the 64 bytes.
    if salt.len() > 16 || digest.len() != 86 || !digest.is_ascii() {
        return Err(malformed);
    }
    Ok(rounds)
}

/// Digest and salt of base64(SHA-512(secret, salt), salt).
fn ssha512_parts(hash: &str) -> Result<([u8; 64], Vec<u8>), SchemeError> {
    let malformed = || SchemeError::Malformed("SSHA512");
    let bytes = BASE64.decode(hash).map_err(|_| malformed())?;
    let (digest, salt) = bytes.split_first_chunk::<64>().ok_or_else(malformed)?;
    if salt.is_empty() {
        return Err(malformed());
    }
    Ok((*digest, salt.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 64, iterations: 1 };

    fn judge(stored: &str, secret: &str) -> bool {
        let stored = StoredHash::parse(stored).expect("a stored form");
        stored.matches(secret.as_bytes(), &mut Vec::new())
    }

    /// Made by `openssl passwd`, libxcrypt and the reference implementation of argon2 (its test.c).
    const FOREIGN: [(&str, &str); 4] = [
        (
            "{SHA512-CRYPT}$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "Hello world!",
        ),
        (
            "{BLF-CRYPT}$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
            "correct horse",
        ),
        (
            "{ARGON2ID}$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "password",
        ),
        ("{plain}open sesame", "open sesame"),
    ];

    #[test]
    fn foreign_hashes_are_judged() {
        for (stored, secret) in FOREIGN {
            assert!(judge(stored, secret), "{stored}");
            assert!(!judge(stored, "another"), "{stored}");
            assert!(needs_upgrade(stored, Argon2Cost::default()), "{stored}");
        }
    }

    /// As the directory keeps them.
    #[test]
    fn foreign_hashes_are_judged_without_the_name_of_their_scheme() {
        for (stored, secret) in &FOREIGN[..3] {
            let (_, bare) = stored.split_once('}').expect("a scheme");
            assert!(judge(bare, secret) && judge(&format!("{{CRYPT}}{bare}"), secret), "{bare}");
            assert!(!judge(bare, "another"), "{bare}");
        }
    }

    #[test]
    fn ssha512_is_a_digest_with_its_salt_behind() {
        let mut bytes = Sha512::digest(b"secretsalt").to_vec();
        bytes.extend_from_slice(b"salt");
        let stored = format!("{{SSHA512}}{}", BASE64.encode(&bytes));
        assert!(judge(&stored, "secret"));
        assert!(!judge(&stored, "Secret"));
        assert!(StoredHash::parse("{SSHA512}AAAA").is_err());
    }

    #[test]
    fn what_is_made_is_judged_and_salted() {
        let mut memory = Vec::new();
        let one = make(b"secret", CHEAP, &mut memory).expect("made");
        let two = make(b"secret", CHEAP, &mut memory).expect("made");
        assert!(one.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{one}");
        assert_ne!(one, two);
        assert!(judge(&one, "secret") && judge(&two, "secret") && !judge(&one, "secret "));
        assert!(!needs_upgrade(&one, CHEAP));
        assert!(needs_upgrade(&one, Argon2Cost { iterations: 2, ..CHEAP }));
        // Fewer passes over more memory are no less, more passes over less memory are.
        let wide =
            make(b"pw", Argon2Cost { memory_kib: 256, iterations: 1 }, &mut memory).expect("made");
        assert!(!needs_upgrade(&wide, Argon2Cost { memory_kib: 64, iterations: 4 }));
        assert!(needs_upgrade(&wide, Argon2Cost { memory_kib: 512, iterations: 1 }));
    }

    #[test]
    fn what_is_unknown_broken_or_too_dear_is_refused() {
        for stored in [
            "{MD5}abc",
            "{",
            "",
            "secret",
            "$argon2i$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=4194304,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "{BLF-CRYPT}$2b$31$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e",
            "{BLF-CRYPT}nonsense",
            "{SHA512-CRYPT}$6$rounds=999999999$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            "{SHA512-CRYPT}$6$salt",
            "{SSHA512}!",
        ] {
            assert!(StoredHash::parse(stored).is_err(), "{stored}");
        }
    }
}
