//! What may be said after `hikyaku bench`.

use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Gets and puts of the hash table, against value size, concurrency and share of reads
    #[command(
        after_help = "Example: hikyaku bench dds --sizes 100,4700 --clients 1,128 --reads 0,100\n\
        Example: hikyaku bench dds --nodes 1,2,3 --sizes 100,4700 --clients 1,128 --reads 0,100 --svg nodes.svg\n\
        The store is made in a new directory below --data, or that for temporary files, and removed at the end.\n\
        With --nodes so many processes of one cluster are started, with a store each and connections between them."
    )]
    Dds(DdsArgs),
    /// Store/retrieve cycles against any server: SMTP or LMTP in, POP3 out and deleted
    #[command(
        after_help = "Example: hikyaku bench cycle --smtp 127.0.0.1:2025 --pop3 127.0.0.1:2110 \
        --users 'u{}@example.org' --password secret --clients 16\n\
        Deletes all mail in the inboxes of these users: use accounts made for the purpose."
    )]
    Cycle(CycleArgs),
    /// IMAP load against any server: log-in, SELECT, FETCH, STORE, SEARCH in a mix
    #[command(
        after_help = "Example: hikyaku bench imap --imap 127.0.0.1:2143 --users 'u{}@example.org' \
        --password secret --clients 64 --mix select=1,fetch=8,store=2,noop=4"
    )]
    Imap(ImapArgs),
    /// Draw lines of JSON that `bench dds --nodes` or `bench cycle` has printed: medians where several say the same
    #[command(after_help = "Example: hikyaku bench plot --svg nodes.svg first.jsonl second.jsonl")]
    Plot(PlotArgs),
    /// One node of `bench dds --nodes`
    #[command(
        hide = true,
        after_help = "Example: hikyaku bench dds --nodes 1,3 starts such nodes itself"
    )]
    DdsNode { file: PathBuf, name: String },
}

#[derive(Args, Debug)]
pub struct PlotArgs {
    /// Lines of JSON
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the chart goes
    #[arg(long, value_name = "FILE")]
    pub svg: PathBuf,
}

#[derive(Args, Debug)]
pub struct DdsArgs {
    /// Bytes of a value, at most 65536
    #[arg(long, value_delimiter = ',', default_values_t = [100, 1024, 4700, 16_384, 65_536])]
    pub sizes: Vec<usize>,
    /// Clients with one request under way each
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 128])]
    pub clients: Vec<usize>,
    /// Share of gets, in percent
    #[arg(long, value_delimiter = ',', default_values_t = [0, 50, 100])]
    pub reads: Vec<u8>,
    /// Seconds of each run
    #[arg(long, default_value_t = 3.0)]
    pub secs: f64,
    /// Values that are there before the run, for the gets
    #[arg(long, default_value_t = 10_000)]
    pub keys: u64,
    /// Memory for write buffers, in MiB
    #[arg(long, default_value_t = 64)]
    pub write_buffer: usize,
    /// Memory for blocks and bodies read lately, in MiB
    #[arg(long, default_value_t = 256)]
    pub cache: usize,
    /// Whether a put is synced before it is answered
    #[arg(long, value_enum, default_value_t = Sync::Always)]
    pub sync: Sync,
    /// Whole clusters of so many nodes, on this machine, in place of one node's brick
    #[arg(long, value_delimiter = ',')]
    pub nodes: Vec<usize>,
    /// Partitions of a cluster: powers of two up to 16384
    #[arg(long, value_delimiter = ',', default_values_t = [1024], requires = "nodes")]
    pub partitions: Vec<u16>,
    /// One request in so many is followed on its way through a cluster, for the split by stage; 0: none
    #[arg(long, default_value_t = 16, requires = "nodes")]
    pub follow: u64,
    /// Where the nodes of a cluster listen for each other, on ports that the kernel chooses
    #[arg(long, default_value = "127.0.0.1", requires = "nodes")]
    pub address: IpAddr,
    /// Draw what a cluster has shown: throughput, CPU, latency by stage
    #[arg(long, value_name = "FILE", requires = "nodes")]
    pub svg: Option<PathBuf>,
}

/// When a put is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sync {
    /// After the sync that covers it.
    Always,
    /// After it was handed to the system: nothing is safe then.
    Never,
}

#[derive(Args, Debug)]
pub struct CycleArgs {
    /// Where SMTP listens; once for each node
    #[arg(long, value_name = "HOST:PORT", required_unless_present = "lmtp")]
    pub smtp: Vec<String>,
    /// Where LMTP listens, in place of SMTP
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "smtp")]
    pub lmtp: Vec<String>,
    /// Where POP3 listens; once for each node
    #[arg(long, value_name = "HOST:PORT", required = true)]
    pub pop3: Vec<String>,
    #[command(flatten)]
    pub users: UserArgs,
    /// Cycles under way at the same time; each client has users of its own, and one of the nodes
    #[arg(long, value_delimiter = ',', default_values_t = [16])]
    pub clients: Vec<usize>,
    /// One connection for all messages of a client, in place of one for each
    #[arg(long)]
    pub reuse: bool,
    /// Draw throughput and latency by stage
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Bytes of a message
    #[arg(long, default_value_t = 4700)]
    pub size: usize,
    /// Seconds of measuring, after one of warming up
    #[arg(long, default_value_t = 10.0)]
    pub secs: f64,
}

#[derive(Args, Debug)]
pub struct ImapArgs {
    /// Where IMAP listens
    #[arg(long, value_name = "HOST:PORT")]
    pub imap: String,
    #[command(flatten)]
    pub users: UserArgs,
    /// Connections
    #[arg(long, default_value_t = 16)]
    pub clients: usize,
    /// Messages that every inbox used is filled up to before
    #[arg(long, default_value_t = 50)]
    pub fill: u32,
    /// Commands and their weights: login, select, list, fetch, body, store, search, noop, append
    #[arg(long, value_delimiter = ',', default_values_t =
        ["login=1", "select=4", "fetch=16", "body=16", "store=8", "search=2", "noop=16"].map(String::from))]
    pub mix: Vec<String>,
    /// Wait so long after each command, in milliseconds: a person at a screen
    #[arg(long, default_value_t = 0)]
    pub think_ms: u64,
    /// Bytes of a message
    #[arg(long, default_value_t = 4700)]
    pub size: usize,
    /// Seconds of measuring, after one of warming up
    #[arg(long, default_value_t = 10.0)]
    pub secs: f64,
}

#[derive(Args, Clone, Debug)]
pub struct UserArgs {
    /// Pattern of the addresses; {} is replaced by a number from 1
    #[arg(long = "users", value_name = "PATTERN", default_value = "u{}@bench.test")]
    pub pattern: String,
    /// How many there are
    #[arg(long = "user-count", default_value_t = 320)]
    pub count: usize,
    /// The password of all of them
    #[arg(long, default_value = "pw")]
    pub password: String,
}
