//! What is printed: one line for each cell, and at the end each aim beside its value.

use std::cell::RefCell;

use crate::load::Measured;

/// The names of the columns.
pub fn print_heading() {
    println!(
        "{:<20}{:>7}{:>6} |{:>9}{:>10}{:>9}{:>9}{:>11}{:>9}{:>8} |{:>11}{:>12}{:>9}{:>9}",
        "operation",
        "KiB",
        "conn",
        "MB/s",
        "op/s",
        "p50 ms",
        "p99 ms",
        "CPU us/op",
        "peak MiB",
        "disk x",
        "floor op/s",
        "CPU us/op",
        "op/s x",
        "CPU x"
    );
}

/// One line. `disk x` is the bytes written to the disk for each byte sent; the last two columns are the share of the
/// floor's rate, and the multiple of its CPU.
pub fn print_cell(name: &str, size: usize, connections: usize, cell: &Measured, floor: Option<&Measured>) {
    let Measured { peak_memory_mib, .. } = cell;
    let disk = cell.disk_bytes_per_byte_sent().map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
    print!(
        "{name:<20}{:>7}{connections:>6} |{:>9.1}{:>10.0}{:>9.2}{:>9.2}{:>11.0}{peak_memory_mib:>9}{disk:>8} |",
        size / 1024,
        cell.megabytes_per_second(),
        cell.rate(),
        cell.latency_ms(0.5),
        cell.latency_ms(0.99),
        cell.cpu_us(),
    );
    match floor {
        Some(floor) => println!(
            "{:>11.0}{:>12.0}{:>9.2}{:>9.1}",
            floor.rate(),
            floor.cpu_us(),
            cell.rate() / floor.rate(),
            cell.cpu_us() / floor.cpu_us()
        ),
        None => println!(),
    }
}

/// The values that somebody aims at, gathered during the run.
#[derive(Default)]
pub struct Aims(RefCell<Vec<(String, String, &'static str)>>);

impl Aims {
    /// Keeps a value and what it should be. Nothing is decided here: the machine may refuse an aim.
    pub fn add(&self, what: impl Into<String>, value: impl Into<String>, aim: &'static str) {
        self.0.borrow_mut().push((what.into(), value.into(), aim));
    }

    /// Prints them all.
    pub fn print(&self) {
        println!("\n{:<84}{:>14}   aim", "aims", "value");
        for (what, value, aim) in self.0.borrow().iter() {
            println!("{what:<84}{value:>14}   {aim}");
        }
    }
}
