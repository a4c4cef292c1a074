//! Charts of what benchmarks have found: of lines of JSON, medians where several runs measured the same.

mod chart;
mod svg;

use super::shown::number;
use anyhow::{Context, bail};
use chart::{Bar, Panel, Series};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Draws the lines of files into one chart.
pub fn files(paths: &[PathBuf], svg: &Path) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let value = serde_json::from_str(line);
            lines.push(value.with_context(|| format!("{}: not JSON", path.display()))?);
        }
    }
    write(svg, &lines)
}

/// Draws the lines of one benchmark.
pub fn write(path: &Path, lines: &[Value]) -> anyhow::Result<()> {
    let panels = match lines.first().and_then(|line| line["bench"].as_str()) {
        Some("dds-nodes") => dds(lines),
        Some("cycle") => cycle(lines),
        other => bail!(
            "there is no chart of {other:?}: it takes lines of `bench dds --nodes` or `bench cycle`"
        ),
    };
    let panels: Vec<Panel> = panels.into_iter().filter(Panel::shows_something).collect();
    std::fs::write(path, chart::draw(&panels))
        .with_context(|| format!("{} can't be written", path.display()))
}

/// The value of `pointer` (RFC 6901) as a number.
fn at(line: &Value, pointer: &str) -> Option<f64> {
    line.pointer(pointer)?.as_f64()
}

fn whole(line: &Value, pointer: &str) -> u64 {
    line.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// The median of what several lines say.
fn median(lines: &[&Value], pointer: &str) -> Option<f64> {
    let mut values: Vec<f64> = lines.iter().filter_map(|line| at(line, pointer)).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => values.get(middle).copied(),
        _ => Some(f64::midpoint(*values.get(middle - 1)?, *values.get(middle)?)),
    }
}

fn distinct(lines: &[Value], pointer: &str) -> Vec<u64> {
    lines.iter().map(|line| whole(line, pointer)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Lines over one axis: what tells series apart, and what a series is called.
struct Axis<'a> {
    lines: &'a [Value],
    pointer: &'static str,
    name: &'static str,
    places: Vec<u64>,
}

impl<'a> Axis<'a> {
    fn new(lines: &'a [Value], pointer: &'static str, name: &'static str) -> Self {
        Self { lines, pointer, name, places: distinct(lines, pointer) }
    }

    /// The series there are, each by the value of `key`.
    fn keys<K: Ord>(&self, key: impl Fn(&Value) -> Option<K>) -> Vec<K> {
        self.lines.iter().filter_map(key).collect::<BTreeSet<K>>().into_iter().collect()
    }

    fn of(&self, place: u64, is: impl Fn(&Value) -> bool) -> Vec<&'a Value> {
        let here = self.lines.iter().filter(|line| whole(line, self.pointer) == place);
        here.filter(|line| is(line)).collect()
    }

    fn lines_panel<K: Ord>(
        &self,
        (title, value): (&str, &str),
        key: impl Fn(&Value) -> Option<K>,
        name: impl Fn(&K) -> String,
    ) -> Panel {
        let series = self.keys(&key).into_iter().map(|one| {
            let of = |place| self.of(place, |line| key(line).as_ref() == Some(&one));
            let values = self.places.iter().map(|&place| median(&of(place), value)).collect();
            Series { name: name(&one), values }
        });
        Panel::Lines {
            title: title.to_owned(),
            axis: self.name.to_owned(),
            places: self.places.iter().map(|&place| number(place as f64)).map(plain).collect(),
            series: series.collect(),
        }
    }

    /// Bars of the means of stages, which stand below `of` in a line.
    fn bars_panel<K: Ord>(
        &self,
        (title, of, stages): (&str, &str, &[&str]),
        key: impl Fn(&Value) -> Option<K>,
        name: impl Fn(&K) -> String,
    ) -> Panel {
        let groups = self.keys(&key).into_iter().map(|one| {
            let bars = self.places.iter().filter_map(|&place| {
                let lines = self.of(place, |line| key(line).as_ref() == Some(&one));
                let mean = |stage: &&str| median(&lines, &format!("{of}/{stage}/mean_us"));
                let stages: Option<Vec<f64>> = stages.iter().map(mean).collect();
                Some(Bar { name: plain(number(place as f64)), stages: stages? })
            });
            (name(&one), bars.collect::<Vec<_>>())
        });
        Panel::Bars {
            title: title.to_owned(),
            stages: stages.iter().map(|stage| stage.replace('_', "-")).collect(),
            groups: groups.filter(|(_, bars)| !bars.is_empty()).collect(),
        }
    }
}

/// Small whole numbers without decimals.
fn plain(number: String) -> String {
    number.strip_suffix(".00").map_or(number.clone(), str::to_owned)
}

/// Share of reads, size, clients.
type Point = (u64, u64, Clients);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Clients {
    OfAll(u64),
    OfEach(u64),
}

fn point(line: &Value) -> Option<Point> {
    // Where there are as many on every node, they are more with every node.
    let each = line.pointer("/clients_per_node").and_then(Value::as_u64);
    let clients = each.map_or_else(|| Clients::OfAll(whole(line, "/clients")), Clients::OfEach);
    Some((whole(line, "/reads_percent"), whole(line, "/size"), clients))
}

fn named((reads, size, clients): &Point) -> String {
    let what = match reads {
        0 => "puts".to_owned(),
        100 => "gets".to_owned(),
        reads => format!("{reads} % gets"),
    };
    let clients = match clients {
        Clients::OfAll(1) => "1 client".to_owned(),
        Clients::OfAll(clients) => format!("{clients} clients"),
        Clients::OfEach(clients) => format!("{clients} clients a node"),
    };
    format!("{what}, {} bytes, {clients}", plain(number(*size as f64)))
}

fn dds(lines: &[Value]) -> Vec<Panel> {
    let nodes =
        Axis::new(lines, "/nodes", "nodes, each with its part of the clients, on one machine");
    let axis =
        if nodes.places.len() > 1 { nodes } else { Axis::new(lines, "/partitions", "partitions") };
    let stages = ["edge", "queue", "fsync", "replicate", "reply"];
    let puts = |line: &Value| point(line).filter(|(reads, ..)| *reads < 100);
    let gets = |line: &Value| point(line).filter(|(reads, ..)| *reads > 0);
    // Of gets there are ten times as many: both on one axis would hide the puts.
    let only_gets = |line: &Value| point(line).filter(|(reads, ..)| *reads == 100);
    let cpu = "/cpu/total_us";
    vec![
        axis.lines_panel(("Puts/s, all nodes together", "/puts_per_s"), puts, named),
        axis.lines_panel(("Gets/s, all nodes together", "/gets_per_s"), gets, named),
        axis.lines_panel(("CPU us per operation with puts, all nodes together", cpu), puts, named),
        axis.lines_panel(("CPU us per get, all nodes together", cpu), only_gets, named),
        axis.bars_panel(("Latency of puts by stage, mean us", "/put_stages", &stages), puts, named),
        axis.bars_panel(("Latency of gets by stage, mean us", "/get_stages", &stages), gets, named),
    ]
}

fn cycle(lines: &[Value]) -> Vec<Panel> {
    let axis = Axis::new(lines, "/nodes", "nodes that clients speak to");
    let key = |line: &Value| Some((whole(line, "/clients"), whole(line, "/size")));
    let name = |(clients, size): &(u64, u64)| {
        format!("{} clients, {} bytes", plain(number(*clients as f64)), plain(number(*size as f64)))
    };
    let stages = super::cycle::STAGES;
    vec![
        axis.lines_panel(("Store/retrieve cycles/s", "/cycles_per_s"), key, name),
        axis.bars_panel(("Latency of a cycle by stage, mean us", "/stages", &stages), key, name),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(nodes: u64, ops: f64) -> Value {
        let stage = json!({ "mean_us": 10.0 });
        json!({
            "bench": "dds-nodes", "nodes": nodes, "partitions": 64, "size": 100, "clients": 1,
            "reads_percent": 0, "puts_per_s": ops, "cpu": { "total_us": 5.0 },
            "put_stages": { "edge": stage, "queue": stage, "fsync": stage, "replicate": stage, "reply": stage },
            "get_stages": null,
        })
    }

    #[test]
    fn clients_of_every_node_are_one_series() {
        let mut lines = [line(1, 5.0), line(2, 8.0)];
        for (nodes, line) in (1..).zip(&mut lines) {
            line["clients"] = json!(32 * nodes);
            line["clients_per_node"] = json!(32);
        }
        let Panel::Lines { series, .. } = &dds(&lines)[0] else { panic!("lines come first") };
        assert_eq!(series.len(), 1);
        assert_eq!(series[0].name, "puts, 100 bytes, 32 clients a node");
        assert_eq!(series[0].values, [Some(5.0), Some(8.0)]);
    }

    #[test]
    fn runs_that_measured_the_same_are_one_median() {
        let lines = [line(1, 5.0), line(1, 1.0), line(1, 3.0), line(2, 8.0)];
        let panels = dds(&lines);
        let Panel::Lines { places, series, .. } = &panels[0] else { panic!("lines come first") };
        assert_eq!(places, &["1", "2"]);
        assert_eq!(series[0].values, [Some(3.0), Some(8.0)]);
        let Panel::Bars { groups, .. } = &panels[4] else { panic!("then bars") };
        assert_eq!(groups[0].1.len(), 2);
        let Panel::Bars { groups, .. } = &panels[5] else { panic!("then bars") };
        assert!(groups.is_empty(), "nobody has read");
    }
}
