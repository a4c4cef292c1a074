//! What may be said on the command line, with an example for each command.

use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// A cluster mail service: SMTP, LMTP, submission, IMAP and POP3 on an embedded replicated store.
#[derive(Debug, Parser)]
#[command(name = "hikyaku", version, max_term_width = 100)]
#[command(after_help = "Example: hikyaku serve --demo")]
pub struct Cli {
    /// The configuration [default: ./cluster.toml when present, else the built-in single node]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Which node of the file this is, or is meant
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Option<String>,
    /// Where the admin API of the node is [default: from the configuration]
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub admin: Option<String>,
    /// The data directory, in place of the configured one; clients find the admin token there
    #[arg(long, global = true, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Print data as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node in the foreground
    #[command(after_help = "Example: hikyaku serve --data /var/lib/hikyaku\n\
        Stop it with SIGTERM: it drains within 30 seconds. SIGHUP reads limits, log and TLS again.")]
    Serve(ServeArgs),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Domains whose mail is kept here
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Addresses that lead to accounts
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Accounts and their passwords
    #[command(subcommand)]
    Account(AccountCommand),
    /// Who is connected
    #[command(subcommand)]
    Session(SessionCommand),
    /// Take in mail from mbox files, Maildirs and .eml files
    #[command(
        after_help = "Example: hikyaku import --account ann@example.org ~/Maildir old.mbox\n\
        Running it again adds nothing twice. Without --folder a Maildir keeps its folders, other files go to INBOX."
    )]
    Import(ImportArgs),
    /// Write all mail of an account as a Maildir
    #[command(after_help = "Example: hikyaku export --account ann@example.org ann-maildir")]
    Export(ExportArgs),
    /// The state of the node and of its cluster: listeners, stages, store, partitions, nodes
    #[command(after_help = "Example: hikyaku status --json | jq .listeners")]
    Status(StatusArgs),
    /// What the stages of a node did in the last ten minutes
    #[command(after_help = "Example: hikyaku stages --of node2\n\
        With --json every point of that time, oldest first.")]
    Stages(StagesArgs),
    /// What happened lately on all nodes: the last lines of their logs, as far as they keep them in memory
    #[command(after_help = "Example: hikyaku events --level warn --follow\n\
        Example: hikyaku events --kind 'auth failed' --text 192.0.2.1 --limit 20 --json\n\
        Oldest first. Older things are in the logs of the nodes. With --json one object a line.")]
    Events(EventsArgs),
    /// Partitions one by one: who leads them, who has a copy in sync
    #[command(after_help = "Example: hikyaku partitions --state few")]
    Partitions(PartitionsArgs),
    /// Where a mailbox lives
    #[command(after_help = "Example: hikyaku where ann@example.org")]
    Where(WhereArgs),
    /// Members of the cluster
    #[command(subcommand)]
    Node(NodeCommand),
    /// Move a mailbox to another node
    #[command(after_help = "Example: hikyaku move ann@example.org --to node2\n\
        Example: hikyaku move ann@example.org --cancel\n\
        To any node: one without a copy is filled first; `hikyaku status` shows how far it is. The mailbox stays there\n\
        until it is moved again, --cancel is said, or the node is removed.")]
    Move(MoveArgs),
    /// Verify checksums, references and indexes of all running nodes, and compare what they hold; or offline of a data
    /// directory or a backup
    #[command(after_help = "Example: hikyaku check\n\
        Example: hikyaku check --offline --data /backup/hikyaku-today\n\
        Exit code 1: something is damaged. Of a backup the files are compared with its list.")]
    Check(CheckArgs),
    /// Compare all copies of everything now, on all nodes, and have wrong ones built anew
    #[command(after_help = "Example: hikyaku scrub\n\
        Every node does the same by itself in the time of store.scrub. Exit code 1: something was found, or missed.")]
    Scrub,
    /// The full-text index of a node, which makes searches of text fast
    #[command(subcommand)]
    Index(IndexCommand),
    /// Programs that follow mailboxes
    #[command(subcommand)]
    Extension(ExtensionCommand),
    /// Copy everything that was acknowledged so far, while the node or the cluster runs
    #[command(after_help = "Example: hikyaku backup /backup/hikyaku-today\n\
        Of a cluster every node makes a directory of its own name in there, on its own host.")]
    Backup(BackupArgs),
    /// Make a data directory from a backup
    #[command(
        after_help = "Example: hikyaku restore /backup/hikyaku-today --data /var/lib/hikyaku\n\
        Example: hikyaku restore /backup/hikyaku-today --node node2 --alone\n\
        The data directory must not exist yet. No client cache is wrong afterwards. Of a cluster, on every host; or on one \
        with --alone, and the others join with empty data directories."
    )]
    Restore(RestoreArgs),
    /// Measure the hash table, or a mail server
    #[command(subcommand)]
    Bench(crate::bench::BenchCommand),
}

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Make a domain demo.test with accounts and mail to look at
    #[arg(long)]
    pub demo: bool,
    /// Found a new cluster even though other nodes of the file can't be asked whether there is one
    #[arg(long)]
    pub found: bool,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Validate all of the file; list every error with its key
    #[command(after_help = "Example: hikyaku config check --config /etc/hikyaku/cluster.toml")]
    Check,
    /// Print the configuration in effect
    #[command(after_help = "Example: hikyaku config show --json | jq .limits")]
    Show,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub enum IndexCommand {
    /// How much is in it, and whether something is still to be indexed
    #[command(after_help = "Example: hikyaku index status --json | jq .due")]
    Status,
    /// Delete it and build it anew from the store, while mail goes on; searches find the same meanwhile, more slowly
    #[command(after_help = "Example: hikyaku index rebuild")]
    Rebuild,
    /// Delete it, and have none until `rebuild`
    #[command(after_help = "Example: hikyaku index drop")]
    Drop,
}

#[derive(Debug, Subcommand)]
pub enum ExtensionCommand {
    /// Give an extension events once more that it has dealt with, as far as they are kept
    #[command(after_help = "Example: hikyaku extension rewind archiver --since 24h\n\
        Example: hikyaku extension rewind archiver --since 2026-11-28 --account ann@example.org\n\
        How long events are kept is in docs/extensions.md. Some of before may come again, too.")]
    Rewind(RewindArgs),
}

#[derive(Debug, Args)]
pub struct RewindArgs {
    /// As in cluster.toml
    pub name: String,
    /// Of this account alone
    #[arg(long)]
    pub account: Option<String>,
    #[command(flatten)]
    pub to: RewindTo,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RewindTo {
    /// What happened from then on: a date, a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Everything that is kept
    #[arg(long)]
    pub kept: bool,
    /// Let it look at whole mailboxes
    #[arg(long)]
    pub reset: bool,
}

#[derive(Debug, Subcommand)]
pub enum DomainCommand {
    /// Add a domain, with postmaster and abuse
    #[command(after_help = "Example: hikyaku domain add example.org")]
    Add { domain: String },
    /// Remove a domain that has no accounts left
    #[command(after_help = "Example: hikyaku domain remove example.org")]
    Remove { domain: String },
    /// List domains
    #[command(after_help = "Example: hikyaku domain list --json")]
    List,
    /// Change a domain's settings
    #[command(after_help = "Example: hikyaku domain set example.org --catch-all ann@example.org \
        --separator - --default-quota '2 GiB'\nThe word none takes a setting away.")]
    Set(DomainSetArgs),
}

#[derive(Debug, Args)]
pub struct DomainSetArgs {
    pub domain: String,
    /// Where mail for unknown users goes; none: nowhere
    #[arg(long, value_name = "ADDRESS")]
    pub catch_all: Option<String>,
    /// Between user and detail in sub-addresses; none: no sub-addresses
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub separator: Option<String>,
    /// Quota of accounts made later; none: unlimited
    #[arg(long, value_name = "SIZE")]
    pub default_quota: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum AliasCommand {
    /// Lead an address to one or several accounts
    #[command(
        after_help = "Example: hikyaku alias add sales@example.org ann@example.org bob@example.org"
    )]
    Add {
        alias: String,
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Remove an alias
    #[command(after_help = "Example: hikyaku alias remove sales@example.org")]
    Remove { alias: String },
    /// List aliases
    #[command(after_help = "Example: hikyaku alias list example.org")]
    List { domain: Option<String> },
}

#[derive(Debug, Args)]
pub struct PasswordArgs {
    /// The password, from the first line of a file; - is standard input
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum AccountCommand {
    /// Make an account
    #[command(
        after_help = "Example: echo secret | hikyaku account add ann@example.org --password-file -"
    )]
    Add {
        address: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Remove an account and all of its mail
    #[command(after_help = "Example: hikyaku account remove ann@example.org")]
    Remove { address: String },
    /// List accounts
    #[command(after_help = "Example: hikyaku account list example.org --json\n\
        Example: hikyaku account list --search ann --usage")]
    List(AccountListArgs),
    /// Change a password; open sessions end
    #[command(
        after_help = "Example: hikyaku account password ann@example.org --password-file new.txt"
    )]
    Password {
        address: String,
        #[command(flatten)]
        password: PasswordArgs,
    },
    /// Let an account log in and receive again
    #[command(after_help = "Example: hikyaku account enable ann@example.org")]
    Enable { address: String },
    /// Keep an account from logging in and receiving; open sessions end
    #[command(after_help = "Example: hikyaku account disable ann@example.org")]
    Disable { address: String },
    /// Turn the second factor of an account off, for a user who lost it; open sessions end
    #[command(
        name = "second-factor-off",
        after_help = "Example: hikyaku account second-factor-off ann@example.org\n\
        The user signs in with the password alone then, and can turn it on again. Be sure who asks you for this."
    )]
    SecondFactorOff { address: String },
    /// Change an account's settings
    #[command(
        after_help = "Example: hikyaku account set ann@example.org --quota '5 GiB' --name 'Ann Ames'\n\
        The word none takes a quota away."
    )]
    Set(AccountSetArgs),
    /// Make accounts from lines address:password or address:{SCHEME}hash
    #[command(after_help = "Example: hikyaku account import users.txt\n\
        Schemes: PLAIN (hashed at once), ARGON2ID, BLF-CRYPT, SHA512-CRYPT, SSHA512. - is standard input.")]
    Import { file: PathBuf },
}

#[derive(Debug, Args)]
pub struct AccountListArgs {
    pub domain: Option<String>,
    /// Only accounts whose address or name contains this
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// With what each keeps, and its node: every mailbox that is listed is asked
    #[arg(long)]
    pub usage: bool,
    /// Leave out so many first
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub offset: u64,
    /// List at most so many [default: all]
    #[arg(long, value_name = "COUNT")]
    pub limit: Option<u64>,
}

#[derive(Debug, Args)]
pub struct AccountSetArgs {
    pub address: String,
    /// Largest sum of message sizes; none: unlimited
    #[arg(long, value_name = "SIZE")]
    pub quota: Option<String>,
    /// Most messages; none: unlimited
    #[arg(long, value_name = "COUNT")]
    pub quota_messages: Option<String>,
    /// The name shown to people
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// List sessions
    #[command(after_help = "Example: hikyaku session list --json")]
    List(SessionListArgs),
    /// End sessions
    #[command(after_help = "Example: hikyaku session kick --account ann@example.org")]
    Kick(KickArgs),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct KickArgs {
    /// One session, by its number in the list
    #[arg(long, value_name = "NUMBER")]
    pub session: Option<u64>,
    /// All sessions of an account, on every node
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
    /// All sessions from an address
    #[arg(long, value_name = "IP")]
    pub ip: Option<IpAddr>,
}

#[derive(Debug, Args)]
pub struct ImportArgs {
    #[arg(long, value_name = "ADDRESS")]
    pub account: String,
    /// Put everything into this folder
    #[arg(long, value_name = "NAME")]
    pub folder: Option<String>,
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ExportArgs {
    #[arg(long, value_name = "ADDRESS")]
    pub account: String,
    pub dir: PathBuf,
}

#[derive(Debug, Args)]
pub struct WhereArgs {
    pub address: String,
}

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Wait until a node, started with `serve`, holds its share of the cluster; undoes a drain
    #[command(after_help = "Example: hikyaku node join node3\n\
        The file of every node lists the new one last; `hikyaku serve --node node3` on its host lets it in.")]
    Join(NodeArgs),
    /// Move everything away from a node, and wait until it holds nothing
    #[command(after_help = "Example: hikyaku node drain node3")]
    Drain(NodeArgs),
    /// Make the data directory of a node that is stopped a cluster that goes on without the nodes that are lost for good
    #[command(
        name = "unsafe-recover",
        after_help = "Example: hikyaku --node node3 node unsafe-recover\n\
        Without the long option it only tells what would be lost. For when the control plane has no majority any more, and \
        the disks of the others will not come back. Then start this node, and the others with empty data directories."
    )]
    UnsafeRecover(UnsafeRecoverArgs),
    /// Remove a node that holds nothing: one that was drained, or is dead and was replaced by others
    #[command(after_help = "Example: hikyaku node remove node3")]
    Remove(NodeArgs),
}

#[derive(Debug, Args)]
pub struct UnsafeRecoverArgs {
    /// A node, stopped too, whose data directory is intact: it goes on with what it holds
    #[arg(long = "with", value_name = "NODE")]
    pub kept: Vec<String>,
    /// Do it: what only the other nodes had is given up
    #[arg(long)]
    pub yes_i_lose_what_only_the_others_had: bool,
}

#[derive(Debug, Args)]
pub struct HereArgs {
    /// Ask only this node, not all of the cluster
    #[arg(long)]
    pub this_node: bool,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    pub here: HereArgs,
    /// Of this node alone, which the node that is asked asks
    #[arg(long, value_name = "NODE", conflicts_with = "this_node")]
    pub of: Option<String>,
}

#[derive(Debug, Args)]
pub struct SessionListArgs {
    #[command(flatten)]
    pub here: HereArgs,
    /// Only those of an account
    #[arg(long, value_name = "ADDRESS")]
    pub account: Option<String>,
}

#[derive(Debug, Args)]
pub struct StagesArgs {
    /// A node of the cluster [default: the one that is asked]
    #[arg(long, value_name = "NODE")]
    pub of: Option<String>,
}

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on with what happens from now on, until the command is interrupted
    #[arg(long)]
    pub follow: bool,
    /// Only of this node of the cluster
    #[arg(long, value_name = "NODE")]
    pub of: Option<String>,
    /// At least as grave: error, warn, info or debug
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
    /// Only this kind, in the words of the log
    #[arg(long, value_name = "WORDS")]
    pub kind: Option<String>,
    /// Only lines that contain this, whatever the case
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// The last so many
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[derive(Debug, Args)]
pub struct PartitionsArgs {
    /// Only those that are whole, few, 'too few', leaderless or moving
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,
}

#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The backup; of a cluster the directory with those of its nodes, or one of these
    pub dir: PathBuf,
    /// Of a cluster: from this part alone; the other nodes join empty
    #[arg(long)]
    pub alone: bool,
    /// Of a cluster: a node whose part is not restored
    #[arg(long, value_name = "NODE", conflicts_with = "alone")]
    pub without: Vec<String>,
    /// Go on though no part that is restored holds all partitions
    #[arg(long)]
    pub yes_i_lose_what_only_the_others_had: bool,
}

#[derive(Debug, Args)]
pub struct NodeArgs {
    /// Name of the node in the file
    pub name: String,
}

#[derive(Debug, Args)]
pub struct MoveArgs {
    /// The mailbox; others of its partition move with it
    pub address: String,
    /// Name of the node in the file
    #[arg(long, value_name = "NODE", required_unless_present = "cancel")]
    pub to: Option<String>,
    /// End a move that has not arrived; where the mailbox is, placement decides from now on
    #[arg(long, conflicts_with = "to")]
    pub cancel: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Verify a backup, named with --data, without a node
    #[arg(long)]
    pub offline: bool,
    /// Only this node, and no comparison with others
    #[arg(long, conflicts_with = "offline")]
    pub this_node: bool,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    pub dir: PathBuf,
    /// Only what this node holds, whatever the others have
    #[arg(long)]
    pub this_node: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn walk(command: &clap::Command, path: &str) {
        let leaf = command.get_subcommands().next().is_none();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(!leaf || help.contains("Example: "), "{path} has no example");
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            walk(sub, &format!("{path} {}", sub.get_name()));
        }
    }

    #[test]
    fn every_command_has_an_example() {
        Cli::command().debug_assert();
        walk(&Cli::command(), "hikyaku");
    }

    #[test]
    fn global_options_stand_before_or_after_the_command() {
        for line in ["hikyaku --json --admin h:1 status", "hikyaku status --json --admin h:1"] {
            let cli = Cli::try_parse_from(line.split(' ')).expect("both orders parse");
            assert!(cli.json);
            assert_eq!(cli.admin.as_deref(), Some("h:1"));
        }
    }
}
