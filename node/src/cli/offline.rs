//! `restore`, `check --offline` and `node unsafe-recover`: work on directories, without a running node.

use super::args::{Cli, RestoreArgs, UnsafeRecoverArgs};
use super::{operate, output};
use crate::backup::{self, MANIFEST_FILE};
use crate::config::{Config, NodeEntry};
use crate::control::{CheckReport, Finding};
use crate::life::restored_incarnation;
use crate::manifest::Manifest;
use crate::private_file;
use crate::recovery::{self, Lost, Plan, Wanted};
use crate::serve::identity::{self, Identity, Member};
use anyhow::{Context, bail};
use dds::cluster::NodeId;
use dds_rocksdb::{RocksStore, StoreConfig};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub fn restore(cli: &Cli, args: &RestoreArgs) -> anyhow::Result<ExitCode> {
    let (config, node) = super::load(cli)?;
    let dir = part_of(&args.dir, &node);
    let bar = operate::progress_bar("verifying")?;
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let note = |store: &Path, number, unix_micros| {
        let store = open(store)?;
        let manifest = private_file::read(&dir.join(MANIFEST_FILE))?;
        let part = Part { config: &config, node: &node, args, number };
        match manifest {
            Some(text) => part.restore(&store, Manifest::decode(&text)?)?,
            None => identity::note_restoration(&store, number, unix_micros)?,
        }
        store.flush().context("the store can't be written")
    };
    let report = backup::restore(&dir, &node.data, &note, &progress)?;
    bar.finish_and_clear();
    if cli.json {
        output::json(&report)?;
    } else {
        let (dir, size) = (report.dir.display(), output::size(report.bytes));
        output::text(&format!("{dir}: {} files, {size}, ready for `serve`\n", report.files))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Of the backup of a cluster the directory of this node.
fn part_of(dir: &Path, node: &NodeEntry) -> PathBuf {
    let part = dir.join(&node.name);
    if !dir.join(backup::LIST_FILE).exists() && part.exists() { part } else { dir.to_path_buf() }
}

/// A part of the backup of a cluster that becomes a data directory.
struct Part<'a> {
    config: &'a Config,
    node: &'a NodeEntry,
    args: &'a RestoreArgs,
    /// How often this part was restored.
    number: u32,
}

impl Part<'_> {
    /// One node begins the next life of the cluster, with what counts of its part; the others are let in by it.
    fn restore(&self, store: &RocksStore, mut manifest: Manifest) -> anyhow::Result<()> {
        let me = number_of(self.config, &self.node.name)?;
        let identity = identity_of(store, self.config, me)?;
        if manifest.incarnation(me.0) != Some(identity.member.incarnation) {
            bail!("this part of the backup is not that of node {:?}", self.node.name);
        }
        for name in &self.args.without {
            let gone = number_of(self.config, name)?;
            if gone == me || manifest.nodes.remove(&gone.0).is_none() {
                bail!("--without {name}: it is this node, or has no part of the backup");
            }
        }
        manifest.nodes.retain(|&node, _| !self.args.alone || node == me.0);
        for held in &mut manifest.held {
            held.retain(|node| manifest.nodes.contains_key(node));
        }
        let of_backup = |node: u16, incarnation| Member {
            node: NodeId(node),
            incarnation: restored_incarnation(incarnation, manifest.backup),
            joined: true,
        };
        let member = of_backup(me.0, identity.member.incarnation);
        let identity = Identity { member, ..identity };
        if manifest.founder() != Some(me.0) {
            let mut ops = identity::records_of(&identity);
            ops.push(dds::control::forget());
            return identity::commit(store, ops).context("the store can't be written");
        }
        let others = manifest.nodes.keys().filter(|node| **node != me.0);
        let kept = others.filter_map(|&node| Some(of_backup(node, manifest.incarnation(node)?)));
        let recorded = recovery::recorded(store)?;
        let wanted = Wanted {
            map: manifest.applied_to(recorded.latest.clone()),
            kept: kept.collect(),
            identity,
            recorded,
            restorations: self.number,
        };
        let plan = Plan::make(store, &wanted)?;
        if !plan.lost.is_empty() && !self.args.yes_i_lose_what_only_the_others_had {
            bail!(
                "{}; restore the parts of other nodes too, or say \
                 --yes-i-lose-what-only-the-others-had",
                lost_text(&plan.lost, plan.partitions)
            );
        }
        plan.carry_out(store)
    }
}

fn number_of(config: &Config, name: &str) -> anyhow::Result<NodeId> {
    let at = config.node.iter().position(|node| node.name == name);
    let at = at.with_context(|| format!("no [[node]] is named {name:?}"))?;
    Ok(NodeId(u16::try_from(at + 1).context("too many nodes")?))
}

fn identity_of(store: &RocksStore, config: &Config, me: NodeId) -> anyhow::Result<Identity> {
    let partitions = u16::try_from(config.cluster.partitions).context("too many partitions")?;
    let identity = identity::load(store, partitions, me)?;
    identity.context("no node ever ran on this data directory")
}

fn lost_text(lost: &[Lost], partitions: u64) -> String {
    let list = |older: bool| {
        let some = lost.iter().filter(|it| it.has_older == older);
        some.map(|it| it.partition.0.to_string()).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!("{} of {partitions} partitions have no intact copy here", lost.len());
    for (older, what) in [(true, "an older copy of"), (false, "nothing of")] {
        let list = list(older);
        if !list.is_empty() {
            text.push_str(&format!("; {what} {list}"));
        }
    }
    text
}

/// Tells what would be lost; does it when that was accepted.
pub fn unsafe_recover(cli: &Cli, args: &UnsafeRecoverArgs) -> anyhow::Result<ExitCode> {
    let (config, node) = super::load(cli)?;
    let me = number_of(&config, &node.name)?;
    let dir = node.data.join("store");
    if !dir.exists() {
        bail!("{} holds no store: name the node with --node", node.data.display());
    }
    let store = open(&dir).context("the node must be stopped")?;
    let identity = identity_of(&store, &config, me)?;
    let recorded = recovery::recorded(&store)?;
    let member = |name: &String| {
        let node = number_of(&config, name)?;
        let known = recorded.latest.node(node);
        let known = known.with_context(|| format!("the cluster has no node {name:?}"))?;
        Ok(Member { node, incarnation: known.incarnation, joined: true })
    };
    let kept = args.kept.iter().filter(|name| **name != node.name).map(member);
    let kept = kept.collect::<anyhow::Result<Vec<Member>>>()?;
    let map = recorded.latest.clone();
    let plan = Plan::make(&store, &Wanted { identity, recorded, map, kept, restorations: 1 })?;
    if plan.dropped.is_empty() {
        bail!("no node would be given up: there is nothing to recover from");
    }
    let names = |nodes: &[NodeId]| -> Vec<String> {
        nodes.iter().map(|&node| name_of(&config, node)).collect()
    };
    let (kept, dropped) = (names(&plan.kept), names(&plan.dropped));
    let lost: Vec<_> = plan.lost.iter().map(|it| (it.partition.0, it.has_older)).collect();
    let (life, text) = (plan.life, lost_text(&plan.lost, plan.partitions));
    let done = args.yes_i_lose_what_only_the_others_had;
    if done {
        plan.carry_out(&store)?;
        store.flush().context("the store can't be written")?;
    }
    if cli.json {
        let lost: Vec<_> = lost
            .iter()
            .map(|(partition, older)| serde_json::json!({"partition": partition, "older_copy": older}))
            .collect();
        output::json(&serde_json::json!({
            "done": done, "life": life, "kept": kept, "dropped": dropped, "lost": lost,
        }))?;
    } else {
        output::text(&recovery_text(done, (&kept, &dropped), &text))?;
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn recovery_text(done: bool, (kept, dropped): (&[String], &[String]), lost: &str) -> String {
    let (kept, dropped) = (kept.join(", "), dropped.join(", "));
    if done {
        return format!(
            "the cluster goes on with {kept}, without {dropped}; {lost}\n\
             start this node first; nodes that are kept come in as they are, all others with empty data directories\n"
        );
    }
    format!(
        "nothing was changed. The cluster would go on with {kept}, without {dropped}; {lost}.\n\
         What was acknowledged while this node was away is known to the others alone. Make sure that they are \
         stopped and stay so; then say --yes-i-lose-what-only-the-others-had\n"
    )
}

fn name_of(config: &Config, node: NodeId) -> String {
    let entry = usize::from(node.0).checked_sub(1).and_then(|at| config.node.get(at));
    entry.map_or_else(|| format!("number {}", node.0), |entry| entry.name.clone())
}

/// The store of a node that does not run.
fn open(dir: &Path) -> anyhow::Result<RocksStore> {
    let mut config = StoreConfig::new(dir);
    // No node: nothing is refused for want of space, and no room is kept.
    config.space.low_bytes = 0;
    config.space.critical_bytes = 0;
    config.space.ballast_bytes = 0;
    RocksStore::open(&config).with_context(|| format!("{} can't be opened", dir.display()))
}

/// A directory that is a backup is compared with its list; any other is the data directory of a node that does not run.
pub fn check(cli: &Cli) -> anyhow::Result<ExitCode> {
    let (_, node) = super::load(cli)?;
    let bar = operate::progress_bar("verifying")?;
    let progress = |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let data = part_of(&node.data, &node);
    let report = if data.join(backup::LIST_FILE).exists() {
        let findings = backup::verify(&data, &progress)?;
        CheckReport { bytes: bar.length().unwrap_or(0), findings, ..CheckReport::default() }
    } else {
        check_data(&node.data, &progress)?
    };
    bar.finish_and_clear();
    operate::show_check(cli, &crate::admin::report::check(report))
}

fn check_data(data: &Path, progress: &dyn Fn(u64, u64)) -> anyhow::Result<CheckReport> {
    let dir = data.join("store");
    if !dir.exists() {
        bail!("{} holds no store: name a data directory with --data", data.display());
    }
    let store = open(&dir).context("a running node is checked by `hikyaku check`")?;
    match identity::load_map(&store) {
        Ok(Some(map)) => {
            // Of a cluster only what is in sync here counts; what is not applied yet is not there yet.
            let recorded = recovery::recorded(&store).ok();
            let me = identity::member_of(&store)?;
            let known = recorded.filter(|known| known.latest.nodes.len() > 1);
            let holds = |partition| {
                let group = known.as_ref().and_then(|known| known.latest.group(partition));
                group.is_none_or(|group| group.is_in_sync(me))
            };
            let brick =
                crate::serve::backup::Brick { store: &store, map, holds: &holds, shared: false };
            Ok(crate::serve::backup::check(&brick, progress))
        }
        Ok(None) => bail!("{} was never started: there is nothing to check", data.display()),
        Err(error) => {
            let finding = Finding {
                thing: dir.display().to_string(),
                reason: format!("{error:#}"),
                next_step: "restore the last backup".to_owned(),
            };
            Ok(CheckReport { findings: vec![finding], ..CheckReport::default() })
        }
    }
}
