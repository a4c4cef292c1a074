//! How RocksDB is set up. Each choice with its reason; numbers are for two cores and one writer thread.

use crate::StoreConfig;
use dds::Column;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DBCompressionType, DBRecoveryMode, LogLevel,
    Options, WriteBufferManager, statistics::StatsLevel,
};

/// All columns, and their names in the database.
pub const COLUMNS: [(Column, &str); 3] =
    [(Column::Meta, "meta"), (Column::Bodies, "bodies"), (Column::Log, "log")];

/// The name of `column`.
pub fn name_of(column: Column) -> &'static str {
    match column {
        Column::Meta => "meta",
        Column::Bodies => "bodies",
        Column::Log => "log",
    }
}

/// Bytes of the least value that goes to a blob file. Design section 4: values over 1 KiB are written once.
const BLOB_BYTES_MIN: u64 = 1024;

/// Options of the whole database.
pub fn database(config: &StoreConfig) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    // Only what a power loss leaves of the last record is forgiven (see `tail`); any other damage must be seen. It excludes
    // recycling of WAL files, because an old record behind the new tail could not be told from damage.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_recycle_log_file_num(0);
    // One thread writes: no leader election among writers, no spinning for it.
    options.set_allow_concurrent_memtable_write(false);
    options.set_enable_write_thread_adaptive_yield(false);
    options.set_enable_pipelined_write(false);
    options.set_unordered_write(false);
    options.set_max_background_jobs(config.background_jobs);
    // A flush writes back as it goes: otherwise its dirty pages all wait for the next fdatasync of the WAL.
    options.set_bytes_per_sync(512 * 1024);
    options.set_wal_bytes_per_sync(0);
    options.set_avoid_unnecessary_blocking_io(true);
    // Bounds the time of recovery.
    let wal_bytes = (config.memory.write_buffer_bytes as u64).clamp(16 << 20, 128 << 20);
    options.set_max_total_wal_size(wal_bytes);
    let manager =
        WriteBufferManager::new_write_buffer_manager(config.memory.write_buffer_bytes, false);
    options.set_write_buffer_manager(&manager);
    // Opening a big store must not touch every file.
    options.set_skip_stats_update_on_db_open(true);
    options.set_max_open_files(1024);
    options.set_max_file_opening_threads(1);
    options.set_table_cache_num_shard_bits(4);
    // The kernel may read ahead where reads turn out to be sequential, as those of a body search over a whole mailbox are.
    options.set_advise_random_on_open(false);
    // No periodic work: an idle store wakes nobody.
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_log_level(LogLevel::Warn);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.enable_statistics();
    options.set_statistics_level(StatsLevel::ExceptHistogramOrTimers);
    options
}

/// The columns, with one block cache for all.
pub fn columns(config: &StoreConfig, cache: &Cache) -> Vec<ColumnFamilyDescriptor> {
    let columns = COLUMNS.iter().map(|(column, name)| {
        let options = match column {
            Column::Meta => meta(config, cache),
            Column::Bodies => bodies(config, cache),
            Column::Log => log(config, cache),
        };
        ColumnFamilyDescriptor::new(*name, options)
    });
    // RocksDB insists on a column of this name; it stays empty. After the device was full RocksDB waits until there is room
    // for the largest write buffer, also of a column that is never written.
    let unused = ColumnFamilyDescriptor::new("default", column(config, 16));
    columns.chain([unused]).collect()
}

/// Small values, rewritten often, read by point and by range. Under Zstandard a store of mail would be one hundredth smaller, and
/// the first log-in to a large mailbox take a third longer. Blocks that earlier builds wrote with it are read.
fn meta(config: &StoreConfig, cache: &Cache) -> Options {
    let mut options = column(config, 4);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table(cache, 16 * 1024));
    options.set_target_file_size_base(32 << 20);
    options.set_max_bytes_for_level_base(128 << 20);
    // Every file of level 0 has keys of all mailboxes, so what is below is rewritten as often as it is emptied. Bloom filters keep a
    // get cheap; the first log-in to a mailbox pays, which seeks in each file.
    options.set_level_zero_file_num_compaction_trigger(12);
    options
}

/// Values over 1 KiB go to blob files as they are: mail in base64 does not shrink enough to pay for the work.
fn bodies(config: &StoreConfig, cache: &Cache) -> Options {
    let mut options = column(config, 2);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table(cache, 16 * 1024));
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_compression_type(DBCompressionType::None);
    options.set_blob_file_size(64 << 20);
    options.set_blob_cache(cache);
    // A blob file all of whose values are gone is deleted anyway. Moving what lives out of others is switched on only while
    // there is much garbage (see `garbage`): left on, every compaction would rewrite bodies though none were deleted.
    options.set_enable_blob_gc(false);
    options.set_blob_gc_age_cutoff(0.5);
    options.set_blob_gc_force_threshold(0.4);
    options.set_blob_compaction_readahead_size(2 << 20);
    options.set_target_file_size_base(16 << 20);
    options.set_max_bytes_for_level_base(64 << 20);
    // As of Meta; clients read by key here. It bounds the garbage in blob files that no compaction has seen yet.
    options.set_level_zero_file_num_compaction_trigger(16);
    options
}

/// One small record per partition that is overwritten with each group.
fn log(config: &StoreConfig, cache: &Cache) -> Options {
    let mut options = column(config, 16);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_block_based_table_factory(&table(cache, 4 * 1024));
    options
}

/// What all columns share; a memtable takes one `part` of the budget for write buffers.
fn column(config: &StoreConfig, part: usize) -> Options {
    let mut options = Options::default();
    options.set_write_buffer_size((config.memory.write_buffer_bytes / part / 2).max(1 << 20));
    options.set_max_write_buffer_number(6);
    // An empty store stays small: memory is taken in pieces of this size.
    options.set_arena_block_size(256 * 1024);
    options.set_memtable_whole_key_filtering(false);
    options.set_level_compaction_dynamic_level_bytes(true);
    // A writer that is held up holds up every user: let level 0 grow instead, and catch up.
    options.set_level_zero_file_num_compaction_trigger(4);
    options.set_level_zero_slowdown_writes_trigger(40);
    options.set_level_zero_stop_writes_trigger(80);
    options.set_soft_pending_compaction_bytes_limit(64 << 30);
    options.set_hard_pending_compaction_bytes_limit(256 << 30);
    // Files that are mostly deletions are compacted soon: they hide garbage in blob files and slow scans.
    options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
    options
}

fn table(cache: &Cache, block_bytes: usize) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(block_bytes);
    table.set_format_version(6);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    // Within the budget of the cache, so that memory does not grow with the store.
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_pin_top_level_index_and_filter(true);
    table
}
