//! Limits of the directory.

use fsm::Duration;

/// Documented defaults; a simulation shrinks them.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Tasks that wait while the directory loads; more are refused as overload.
    pub tasks_waiting_max: usize,
    /// Entries of one page of the initial scan.
    pub load_page_entries: usize,
    /// First wait before a failed load or write is tried again; doubles up to `retry_max`, with
    /// jitter.
    pub retry_min: Duration,
    /// Longest wait between tries.
    pub retry_max: Duration,
    /// Orders of the operator that wait for a commit; more are refused as overload.
    pub changes_waiting_max: usize,
    /// Changes in one commit. A bulk import shares a sync among them.
    pub changes_per_commit: usize,
    /// Octets of the local part of an account or alias. RFC 5321 4.5.3.1.1: what every sender can
    /// write.
    pub local_bytes_max: usize,
    /// Octets of a stored hash, scheme included. The longest of the known schemes takes about 200.
    pub phc_bytes_max: usize,
    /// Octets of a display name or the label of a credential.
    pub label_bytes_max: usize,
    /// Passwords of one account: each costs one hash at a log-in with an unknown one.
    pub credentials_max: usize,
    /// Recovery codes of one account.
    pub recovery_codes_max: usize,
    /// Targets of one alias, and mailboxes that one address may reach.
    pub targets_max: usize,
    /// Octets of one stored record: below the 64 KiB of a value.
    pub record_bytes_max: usize,
    /// Aliases that go with their domain in one commit: 330 octets each, below the 1 MiB of a
    /// batch.
    pub aliases_removed_max: usize,
    /// Aliases on the way to a mailbox.
    pub alias_depth_max: usize,
    /// Verifications under way; more log-ins get a temporary answer.
    pub verifications_max: usize,
    /// Log-ins that wait for verifications, all together.
    pub logins_waiting_max: usize,
    /// How long a verified secret is known without a hash.
    pub verified_life: Duration,
    /// Verified secrets kept.
    pub verified_max: usize,
    /// Wrong passwords of a pair of account and network before it is slowed down.
    pub failures_free: u32,
    /// The first wait imposed on such a pair; doubles with each further wrong password.
    pub slowdown_min: Duration,
    /// The longest wait imposed.
    pub slowdown_max: Duration,
    /// A pair without a wrong password for so long starts afresh.
    pub failures_forgotten: Duration,
    /// Pairs remembered; the one longest unused goes first.
    pub pairs_max: usize,
    /// Wrong passwords for one account, from everywhere, within `account_window`, before strangers
    /// have to wait.
    pub account_failures_max: u32,
    /// The window of `account_failures_max`, and the wait.
    pub account_window: Duration,
    /// Wrong codes of the second factor for one account, from everywhere, within `code_window`, before strangers have to wait. Who
    /// guesses has the password already, and a million codes are few.
    pub code_failures_max: u32,
    /// The window of `code_failures_max`, and the wait.
    pub code_window: Duration,
    /// Accounts whose failures are counted; the one longest unused goes first.
    pub accounts_counted_max: usize,
    /// How long a network that logged in is no stranger to the account.
    pub familiar_life: Duration,
    /// Networks familiar to one account.
    pub familiar_per_account_max: usize,
    /// Pairs of account and familiar network kept in all.
    pub familiar_max: usize,
    /// How often the dates of last use are written down.
    pub last_used_every: Duration,
    /// A date of last use is written when it is older than this.
    pub last_used_grain: Duration,
    /// Accounts whose dates are written at a time: at most 11 KiB each, below the 1 MiB of a batch.
    pub last_used_per_write: usize,
    /// The wait before the next ones, when more are left.
    pub last_used_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tasks_waiting_max: 4096,
            load_page_entries: 1024,
            retry_min: Duration::from_millis(50),
            retry_max: Duration::from_secs(5),
            changes_waiting_max: 4096,
            changes_per_commit: 128,
            local_bytes_max: 64,
            phc_bytes_max: 512,
            label_bytes_max: 128,
            credentials_max: 16,
            recovery_codes_max: 16,
            targets_max: 1000,
            record_bytes_max: 60 * 1024,
            aliases_removed_max: 2048,
            alias_depth_max: 10,
            verifications_max: 1024,
            logins_waiting_max: 8192,
            verified_life: Duration::from_secs(300),
            verified_max: 16_384,
            failures_free: 5,
            slowdown_min: Duration::from_secs(2),
            slowdown_max: Duration::from_secs(300),
            failures_forgotten: Duration::from_secs(3600),
            pairs_max: 65_536,
            account_failures_max: 100,
            account_window: Duration::from_secs(600),
            code_failures_max: 10,
            code_window: Duration::from_secs(3600),
            accounts_counted_max: 16_384,
            familiar_life: Duration::from_secs(30 * 24 * 3600),
            familiar_per_account_max: 16,
            familiar_max: 131_072,
            last_used_every: Duration::from_secs(60),
            last_used_grain: Duration::from_secs(3600),
            last_used_per_write: 64,
            last_used_pause: Duration::from_secs(1),
        }
    }
}
