//! The processes of a cluster: started, ordered about, ended.

use super::order::{Order, Report, Task, Word};
use crate::bench::args::DdsArgs;
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// One node.
struct Node {
    child: Child,
    orders: ChildStdin,
    words: BufReader<ChildStdout>,
}

/// A running cluster. Its processes end and its directory goes when it is dropped.
pub struct Cluster {
    nodes: Vec<Node>,
    dir: PathBuf,
    pub replicas: usize,
}

impl Cluster {
    /// Starts so many nodes below `parent`, and waits until every partition has its replicas.
    pub fn start(
        args: &DdsArgs,
        (count, partitions): (usize, u16),
        parent: &Path,
    ) -> anyhow::Result<Self> {
        let dir = parent.join(format!("hikyaku-bench-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&dir)
            .with_context(|| format!("{} can't be made", dir.display()))?;
        let replicas = count.min(3);
        let mut cluster = Self { nodes: Vec::new(), dir, replicas };
        let file = cluster.dir.join("cluster.toml");
        std::fs::write(&file, cluster.file(args, (count, partitions))?)?;
        for number in 1..=count {
            cluster.nodes.push(Node::start(&file, number)?);
        }
        for node in &mut cluster.nodes {
            let Word::Whole = node.word()? else { bail!("a node speaks out of turn") };
        }
        Ok(cluster)
    }

    fn file(&self, args: &DdsArgs, (count, partitions): (usize, u16)) -> anyhow::Result<String> {
        // The kernel chooses ports; all are held until all are chosen.
        let listeners = (0..count).map(|_| TcpListener::bind((args.address, 0)));
        let listeners = listeners.collect::<std::io::Result<Vec<_>>>()?;
        let (replicas, min_in_sync) = (self.replicas, count.min(2));
        let mut text = format!(
            "[cluster]\nname = \"bench\"\nreplicas = {replicas}\nmin_in_sync = {min_in_sync}\n\
             partitions = {partitions}\n[auth]\nargon2_memory = \"1 MiB\"\nargon2_iterations = 1\n\
             [store]\ncache = \"{} MiB\"\nwrite_buffer = \"{} MiB\"\n",
            args.cache, args.write_buffer
        );
        for (number, listener) in (1..=count).zip(&listeners) {
            let data = self.dir.join(format!("n{number}"));
            let (address, data) = (listener.local_addr()?, data.display());
            text += &format!(
                "[[node]]\nname = \"n{number}\"\naddress = \"{address}\"\ndata = \"{data}\"\n"
            );
        }
        Ok(text)
    }

    /// Gives every node its share of a run; what each found.
    pub fn run(&mut self, task: &Task) -> anyhow::Result<Vec<Report>> {
        let count = self.nodes.len();
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let clients = task.clients / count + usize::from(at < task.clients % count);
            node.order(&Order::Prepare(Task { clients, ..task.clone() }))?;
        }
        self.all(|word| matches!(word, Word::Prepared).then_some(()))?;
        self.order(&Order::Run)?;
        self.all(|word| matches!(word, Word::Ran).then_some(()))?;
        self.order(&Order::Report)?;
        self.all(|word| match word {
            Word::Report(report) => Some(*report),
            Word::Whole | Word::Prepared | Word::Ran => None,
        })
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(|node| node.order(order))
    }

    fn all<T>(&mut self, expected: impl Fn(Word) -> Option<T>) -> anyhow::Result<Vec<T>> {
        let words = self.nodes.iter_mut().map(|node| {
            let word = node.word()?;
            expected(word).context("a node speaks out of turn")
        });
        words.collect()
    }
}

impl Node {
    fn start(file: &Path, number: usize) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("the program does not know where it is")?;
        let mut child = Command::new(program)
            .args(["bench", "dds-node"])
            .arg(file)
            .arg(format!("n{number}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a node can't be started")?;
        let orders = child.stdin.take().context("a node without standard input")?;
        let words = child.stdout.take().context("a node without standard output")?;
        Ok(Self { child, orders, words: BufReader::new(words) })
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<()> {
        let mut line = serde_json::to_string(order)?;
        line.push('\n');
        self.orders.write_all(line.as_bytes()).context("a node has ended")
    }

    fn word(&mut self) -> anyhow::Result<Word> {
        let mut line = String::new();
        self.words.read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "a node has ended; what it said stands above");
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended by itself.
            let _killed = node.child.kill();
            let _ended = node.child.wait();
        }
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("hikyaku: {} is left behind: {error}", self.dir.display());
        }
    }
}
