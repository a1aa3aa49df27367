//! How RocksDB is set up. Every setting has its reason; what is not named has RocksDB's default.

use std::path::PathBuf;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, BlockBasedTablePinningTier, Cache, ChecksumType, ColumnFamilyDescriptor,
    DBCompressionType, DBRecoveryMode, LogLevel, Options, WriteBufferManager, WriteOptions,
};

use crate::index::{Family, IndexError};

/// Where the index lies and what it may use.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// The database's directory. Its parent exists.
    pub path: PathBuf,
    /// The watermark's file, on the same file system.
    pub watermark_path: PathBuf,
    /// Memory of the block cache, which also holds index blocks, filters and blobs, and is charged for memtables.
    pub block_cache_bytes: usize,
    /// Memory of all memtables together, above which they are flushed. A part of the block cache.
    pub write_buffer_bytes: usize,
    /// Files that the database keeps open.
    pub open_files_max: i32,
    /// Threads for flushing and compacting.
    pub background_jobs: i32,
}

impl RocksOptions {
    /// The defaults: 128 MiB of memory in all, half of it for memtables.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, watermark_path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            watermark_path: watermark_path.into(),
            block_cache_bytes: 128 << 20,
            write_buffer_bytes: 64 << 20,
            open_files_max: 512,
            background_jobs: 4,
        }
    }
}

/// Log that recovery has to read at most, twice over, at every start after a crash; memtables that keep older log alive
/// are flushed. Well below it the families that are written little would be flushed into ever smaller files.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// Files of level 0 in a family, each of which a read may have to look into, at which writes stop.
const LEVEL0_FILES_MAX: i32 = 30;

/// Bytes of a family that wait for compaction at which writes stop.
const PENDING_COMPACTION_BYTES_MAX: usize = 256 << 30;

/// Checksum bytes that each row carries in memory.
const PROTECTION_BYTES: usize = 8;

/// A file is compacted when this many of so many consecutive rows, or this share of all, are tombstones.
const TOMBSTONE_WINDOW_ROWS: usize = 8_192;
const TOMBSTONE_WINDOW_TRIGGER: usize = 2_048;
const TOMBSTONE_SHARE_TRIGGER: f64 = 0.5;

/// Inline contents from this size on go to blob files; a smaller one costs less among the keys than a pointer to it.
const BLOB_BYTES_MIN: u64 = 256;

/// The oldest share of the blob files is where compaction collects garbage, and the share of garbage in them that
/// forces it to.
const BLOB_GC_AGE_CUTOFF: f64 = 0.5;
const BLOB_GC_FORCE_THRESHOLD: f64 = 0.5;

/// What a database is opened with.
pub(super) struct Setup {
    database: Options,
    cache: Cache,
    table: BlockBasedOptions,
    small_table: BlockBasedOptions,
    family_write_buffer_bytes: usize,
}

impl Setup {
    pub(super) fn new(options: &RocksOptions) -> Result<Self, IndexError> {
        // Lock-free, and it gives blobs, which it takes at the lowest priority, up first.
        let cache = Cache::new_hyper_clock_cache(options.block_cache_bytes, 0);
        Ok(Self {
            database: database_options(options, &cache)?,
            table: table_options(&cache),
            small_table: small_table_options(&cache),
            cache,
            // A family that is written at full speed is flushed while there is still room for what comes meanwhile.
            family_write_buffer_bytes: options.write_buffer_bytes / 4,
        })
    }

    pub(super) fn database(&self) -> &Options {
        &self.database
    }

    pub(super) fn families(&self, families: &[Family]) -> Result<Vec<ColumnFamilyDescriptor>, IndexError> {
        families
            .iter()
            .map(|&family| Ok(ColumnFamilyDescriptor::new(family.name(), self.family_options(family)?)))
            .collect()
    }

    fn family_options(&self, family: Family) -> Result<Options, IndexError> {
        // These have no setter. Protection bytes: a bit that flips in memory is found instead of being written back.
        let mut options = Options::default().get_options_from_string(format!(
            "memtable_protection_bytes_per_key={PROTECTION_BYTES};\
             block_protection_bytes_per_key={PROTECTION_BYTES}"
        ))?;
        options.set_block_based_table_factory(&self.table);
        options.set_compression_type(DBCompressionType::Zstd);
        options.set_write_buffer_size(self.family_write_buffer_bytes);
        // The engine either takes a write or stops it until it has caught up; the committer waits out a short stop.
        // Between the two it would slow writes down, on a schedule that every refused attempt postpones: under
        // `no_slowdown`, callers that try again would never get through. So each slowdown limit is its stop limit,
        // and of memtables there are as many as may be without a slowdown limit.
        options.set_level_zero_slowdown_writes_trigger(LEVEL0_FILES_MAX);
        options.set_level_zero_stop_writes_trigger(LEVEL0_FILES_MAX);
        options.set_soft_pending_compaction_bytes_limit(PENDING_COMPACTION_BYTES_MAX);
        options.set_hard_pending_compaction_bytes_limit(PENDING_COMPACTION_BYTES_MAX);
        options.set_max_write_buffer_number(3);
        match family {
            // Rows that are scanned and deleted: a scan must not wade through tombstones.
            Family::Current | Family::Hidden | Family::Version | Family::Upload | Family::Job => {
                options.add_compact_on_deletion_collector_factory(
                    TOMBSTONE_WINDOW_ROWS,
                    TOMBSTONE_WINDOW_TRIGGER,
                    TOMBSTONE_SHARE_TRIGGER,
                );
            }
            Family::Inline => self.keep_values_in_blob_files(&mut options),
            // Every request reads rows of these, which are there and are few.
            Family::Directory | Family::Bucket | Family::Usage => {
                options.set_block_based_table_factory(&self.small_table);
            }
            _ => {}
        }
        Ok(options)
    }

    /// Values are written once instead of at each compaction, and their keys stay dense.
    fn keep_values_in_blob_files(&self, options: &mut Options) {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(BLOB_BYTES_MIN);
        // Contents are often compressed or sealed already.
        options.set_blob_compression_type(DBCompressionType::None);
        // Without it a read that tries the caches could never find a blob there.
        options.set_blob_cache(&self.cache);
        options.set_enable_blob_gc(true);
        options.set_blob_gc_age_cutoff(BLOB_GC_AGE_CUTOFF);
        options.set_blob_gc_force_threshold(BLOB_GC_FORCE_THRESHOLD);
    }
}

fn database_options(options: &RocksOptions, cache: &Cache) -> Result<Options, IndexError> {
    // No setter. After a background error the store stays read-only; the engine must not resume behind our back, for
    // the kernel may have dropped what a failed sync did not write.
    let mut database = Options::default().get_options_from_string("max_bgerror_resume_count=0")?;
    database.create_if_missing(true);
    database.create_missing_column_families(true);

    // --- durability
    // Read errors and corruption turn into errors, never into missing rows.
    database.set_paranoid_checks(true);
    // A missing or shortened log that was synced and closed is found at recovery.
    database.set_track_and_verify_wals_in_manifest(true);
    // A torn tail is no error, it is what a power cut leaves; what it may hide, the watermark shows.
    database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A write is in the log file when it returns, so that its sync covers it.
    database.set_manual_wal_flush(false);
    // A recycled log's old records could be taken for new ones.
    database.set_recycle_log_file_num(0);
    // Every write is synced anyway; background syncing of the log would only compete.
    database.set_wal_bytes_per_sync(0);
    // Both trade the order of writes, on which revisions and recovery rely, for throughput.
    database.set_unordered_write(false);
    database.set_enable_pipelined_write(false);
    // A bad mapping would be a SIGBUS instead of an error, and mapped memory has no bound.
    database.set_allow_mmap_reads(false);
    database.set_allow_mmap_writes(false);

    // --- bounds
    // One bound for the memtables of all families, charged to the cache. At seven eighths of it a memtable is flushed;
    // at the bound writes stop until one is.
    let may_stall = true;
    database.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager_with_cache(
        options.write_buffer_bytes,
        may_stall,
        cache.clone(),
    ));
    database.set_max_total_wal_size(WAL_BYTES_MAX);
    database.set_max_open_files(options.open_files_max);
    database.set_keep_log_file_num(4);
    database.set_max_log_file_size(16 << 20);
    database.set_log_level(LogLevel::Warn);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);

    // --- speed
    database.set_max_background_jobs(options.background_jobs);
    // Table files are written back as they grow, so that their last sync does not hold up the log's.
    database.set_bytes_per_sync(1 << 20);
    // One thread writes.
    database.set_allow_concurrent_memtable_write(false);
    // Readers leave the freeing of memtables and files to a background thread.
    database.set_avoid_unnecessary_blocking_io(true);
    Ok(database)
}

/// For families whose files may be large, and that are also asked for rows that are not there.
fn table_options(cache: &Cache) -> BlockBasedOptions {
    let mut table = small_table_options(cache);
    table.set_block_size(16 << 10);
    // About 1% of the reads of absent keys touch a block. Nothing reads by prefix, so whole keys are enough.
    table.set_bloom_filter(10.0, false);
    table.set_whole_key_filtering(true);
    // Index and filters count against the cache. They are partitioned, so that a miss reads a few KiB of them instead
    // of the megabytes that a large file has; what is used most stays.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_pin_top_level_index_and_filter(true);
    table
}

/// For families of few rows: a read looks up one block beside the index's, which stays. Partitions and a filter would be
/// three more, and the filter would only ever say that the row is there.
fn small_table_options(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_checksum_type(ChecksumType::XXH3);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_unpartitioned_pinning_tier(BlockBasedTablePinningTier::All);
    table
}

/// Every write is synced, and answers at once instead of waiting out a stall.
pub(super) fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options.disable_wal(false);
    options.set_no_slowdown(true);
    options
}
