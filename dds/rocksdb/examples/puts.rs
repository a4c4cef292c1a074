//! Durable puts per second of one writer, against what the disk does with a bare append and fdatasync of the same bytes.
//!
//! `cargo run --release -p dds-rocksdb --example puts -- [seconds] [batch] [bytes] [directory]`; the two alternate in slices,
//! so that a busy neighbour hits both.
#![expect(clippy::disallowed_types, reason = "a measurement reads the clock")]

use bytes::Bytes;
use dds::{Chain, Column, Durability, Group, PartitionId, Store, StoreOp};
use dds_rocksdb::{RocksStore, StoreConfig};
use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

struct Asked {
    seconds: u64,
    batch: u64,
    bytes: usize,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |index, default: u64| {
        std::env::args().nth(index).map_or(Ok(default), |argument| argument.parse())
    };
    let bytes = usize::try_from(number(3, 4700)?)?;
    let asked = Asked { seconds: number(1, 20)?, batch: number(2, 128)?, bytes };
    let dir = std::env::args().nth(4).map_or_else(std::env::temp_dir, Into::into);
    let dir = dir.join(format!("hikyaku-puts-{}", std::process::id()));
    let result = measure(&asked, &dir);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn measure(asked: &Asked, dir: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let opened = Instant::now();
    let store = RocksStore::open(&StoreConfig::new(dir.join("store")))?;
    println!("opened an empty store in {:?}, {} KiB resident", opened.elapsed(), resident_kib()?);
    let mut raw = File::create(dir.join("raw"))?;
    let body = body(asked.bytes);
    let block = body.repeat(usize::try_from(asked.batch)?);
    let slice = Duration::from_secs(2);
    let (mut store_time, mut store_cpu, mut puts) = (Duration::ZERO, Duration::ZERO, 0_u64);
    let (mut raw_time, mut raw_puts, mut longest) = (Duration::ZERO, 0_u64, Duration::ZERO);
    for _ in 0..asked.seconds.div_ceil(4).max(1) {
        let (began, cpu) = (Instant::now(), cpu()?);
        while began.elapsed() < slice {
            let one = Instant::now();
            let groups: Vec<_> = (puts..puts + asked.batch).map(|n| group(n, &body)).collect();
            store.commit(&groups, Durability::Synced)?;
            puts += asked.batch;
            longest = longest.max(one.elapsed());
        }
        store_time += began.elapsed();
        store_cpu += self::cpu()? - cpu;
        let began = Instant::now();
        while began.elapsed() < slice {
            raw.write_all(&block)?;
            raw.sync_data()?;
            raw_puts += asked.batch;
        }
        raw_time += began.elapsed();
    }
    let rate = |puts: u64, time: Duration| puts as f64 / time.as_secs_f64();
    let (store_rate, raw_rate) = (rate(puts, store_time), rate(raw_puts, raw_time));
    println!(
        "store  {store_rate:9.0} puts/s, {:.1} us CPU a put (flush and compaction with it), longest commit {longest:?}",
        store_cpu.as_secs_f64() * 1e6 / puts as f64
    );
    println!("append {raw_rate:9.0} puts/s");
    println!("ratio  {:9.2}", store_rate / raw_rate);
    println!("{:?}", store.stats());
    println!("{} KiB resident", resident_kib()?);
    let reopened = Instant::now();
    drop(store);
    let closed = reopened.elapsed();
    let reopened = Instant::now();
    let _store = RocksStore::open(&StoreConfig::new(dir.join("store")))?;
    println!("closed in {closed:?}, opened again in {:?}", reopened.elapsed());
    Ok(())
}

/// What a delivery writes: a body, some metadata, the writer record and the partition record.
fn group(number: u64, body: &Bytes) -> Group {
    let partition = PartitionId((number % 1024) as u16);
    let key = |tail: &[u8]| {
        let mut key = partition.0.to_be_bytes().to_vec();
        key.extend_from_slice(b"\x08user----");
        key.extend_from_slice(tail);
        Bytes::from(key)
    };
    let number = number.to_be_bytes();
    let ops = vec![
        StoreOp::Put {
            column: Column::Bodies,
            key: key(&[&[0x80], &number[..]].concat()),
            value: body.clone(),
        },
        StoreOp::Put {
            column: Column::Meta,
            key: key(&[&[0x10], &number[..]].concat()),
            value: body.slice(..body.len().min(300)),
        },
        StoreOp::Put { column: Column::Meta, key: key(&[0]), value: body.slice(..25) },
        StoreOp::Put { column: Column::Log, key: key(b""), value: body.slice(..21) },
    ];
    let bytes = body.len() + 500;
    Group { partition, ops, bytes, frees_space: false, chain: Chain::Starts }
}

/// Letters and digits that do not repeat: as hard to compress as base64.
fn body(bytes: usize) -> Bytes {
    let mut state = 1_u64;
    let letter = |_| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b' ' + (state >> 58) as u8
    };
    (0..bytes.max(32)).map(letter).collect()
}

/// User and system time of this process, threads included.
fn cpu() -> Result<Duration, Box<dyn std::error::Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    // Linux counts in hundredths of a second, whatever the kernel's own clock does.
    Ok(Duration::from_millis(ticks * 10))
}

fn resident_kib() -> Result<u64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/smaps_rollup")?;
    let pss = status.lines().find_map(|line| line.strip_prefix("Pss:"));
    Ok(pss.and_then(|pss| pss.split_whitespace().next()).map_or(Ok(0), str::parse)?)
}
