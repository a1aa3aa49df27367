//! `make bench`: drives the server over HTTP with SigV4 and prints what it does, beside the floor of the same machine in
//! the same run. Nothing here is asserted: the numbers are for reading.
//!
//! The load generator shares the machine with the server, so compare the CPU columns and the ratios rather than the
//! throughput.

mod compression;
mod floor;
mod listing;
mod load;
mod multipart;
mod objects;
mod process;
mod replication;
mod requests;
mod sweep;
mod table;
mod versions;

use std::path::PathBuf;
use std::time::Duration;

use cairn_tests::{Cairn, Config};

use floor::Floor;
use table::Aims;

const USAGE: &str = "bench [--seconds N] [--only GROUP] [--size BYTES] [--connections N] [--encryption KIND] [--list-keys N] [--markers N] [--sweep-keys N] [--replicated-keys N] [--inline-threshold BYTES] [--data-dir DIR]\n\
     \n\
     --seconds      how long each cell runs (default 3)\n\
     --only         one group: put, get, head, delete, multipart, compression, list, start, sweep, versions or replication\n\
     --size         one object size\n\
     --connections  one number of connections\n\
     --encryption   of objects: plain, without that of others (default: all kinds)\n\
     --list-keys    how many keys the groups list and start go over (default 100000; the aims are for 1000000)\n\
     --markers      how many delete markers the group versions lists among (default 300000)\n\
     --sweep-keys   how many objects the group sweep sweeps over (default 100000; the aim of the rate is for 1000000, that of the time for\n\
     \x20              10000000, which take some 5 GB and a quarter of an hour to put)\n\
     --replicated-keys  how many small objects the group replication replicates (default 20000)\n\
     --inline-threshold  the server's storage.inline_threshold_bytes\n\
     --data-dir     where the server keeps its data (default: a temporary directory)";

const GROUPS: [&str; 11] =
    ["put", "get", "head", "delete", "multipart", "compression", "list", "start", "sweep", "versions", "replication"];

/// For what is measured by its end and not by a time.
const UNTIL_DONE: Duration = Duration::from_secs(3_600);

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    seconds: u64,
    only: Option<String>,
    size: Option<usize>,
    connections: Option<usize>,
    plain_only: bool,
    list_keys: usize,
    markers: usize,
    sweep_keys: usize,
    replicated_keys: usize,
    inline_threshold_bytes: Option<u64>,
    data_dir: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            seconds: 3,
            only: None,
            size: None,
            connections: None,
            plain_only: false,
            list_keys: 100_000,
            markers: 300_000,
            sweep_keys: 100_000,
            replicated_keys: 20_000,
            inline_threshold_bytes: None,
            data_dir: None,
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or(format!("{name} needs a value"))?;
            let number = || value.parse::<usize>().map_err(|_| format!("{name}: {value} is not a number"));
            match name.as_str() {
                "--seconds" => options.seconds = number()? as u64,
                "--only" if GROUPS.contains(&value.as_str()) => options.only = Some(value),
                "--size" => options.size = Some(number()?),
                "--connections" => options.connections = Some(number()?.max(1)),
                "--encryption" if value == "plain" => options.plain_only = true,
                "--list-keys" => options.list_keys = number()?,
                "--markers" => options.markers = number()?,
                "--sweep-keys" => options.sweep_keys = number()?,
                "--replicated-keys" => options.replicated_keys = number()?,
                "--inline-threshold" => options.inline_threshold_bytes = Some(number()? as u64),
                "--data-dir" => options.data_dir = Some(value.into()),
                _ => return Err(format!("{name} {value}: unknown")),
            }
        }
        Ok(options)
    }

    fn duration(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    fn wants_size(&self, size: usize) -> bool {
        self.size.is_none_or(|only| only == size)
    }

    fn wants(&self, operation: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == operation)
    }
}

fn main() -> std::process::ExitCode {
    let mut arguments = std::env::args().skip(1);
    if std::env::args().nth(1).as_deref() == Some(floor::SERVER_FLAG) {
        let directory = PathBuf::from(arguments.nth(1).unwrap_or_default());
        floor::serve(&directory);
        return std::process::ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            return std::process::ExitCode::from(2);
        }
    };
    // One thread: the load must leave the other cores to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(run(&options));
    std::process::ExitCode::SUCCESS
}

async fn run(options: &Options) {
    let mut cairn = Cairn::start(Config {
        data_dir: options.data_dir.clone(),
        inline_threshold_bytes: options.inline_threshold_bytes,
        // Cells of encrypted objects stand beside those of plain ones.
        encryption: Some("off"),
        more: compression::SETTINGS.to_owned(),
        ..Config::default()
    });
    let floor = Floor::start(cairn.scratch_dir());
    let aims = Aims::default();
    println!("server: {}", cairn_tests::harness::binary().display());
    println!("data:   {}", cairn.data_dir().display());
    println!("cpus:   {}\n", std::thread::available_parallelism().map_or(1, usize::from));
    if ["put", "get", "head", "delete"].iter().any(|group| options.wants(group)) {
        objects::objects(options, &cairn, &floor, &aims).await;
    }
    if options.wants("multipart") {
        multipart::multipart(options, &cairn).await;
    }
    if options.wants("compression") {
        compression::compression(options, &cairn).await;
    }
    if options.wants("list") || options.wants("start") {
        listing::many_keys(options, &mut cairn, &aims).await;
    }
    if options.wants("sweep") {
        sweep::sweeps(options, &cairn, &aims).await;
    }
    if options.wants("versions") {
        versions::delete_markers(options, &cairn, &aims).await;
    }
    if options.wants("replication") {
        replication::replication(options, &aims).await;
    }
    if options.wants("put") {
        floor::print_disk(options.duration(), &cairn.data_dir());
    }
    aims.print();
}
