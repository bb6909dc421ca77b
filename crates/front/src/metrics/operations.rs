//! Counts and durations of operations, by service, operation and status.
//!
//! Every request passes here, so there is no lock: a fixed table of cells that are written once,
//! found by hash and linear probing. The names are the program's own, so the table cannot fill up
//! from outside; should it ever, the last cell counts for the rest.

use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Buckets, Histogram, header};

const CELLS: usize = 2_048;
/// Statuses 100 to 599.
const STATUS_FIRST: u16 = 100;
const STATUSES: usize = 500;

pub(crate) struct OperationTable {
    cells: Box<[OnceLock<Cell>]>,
}

struct Cell {
    service: &'static str,
    operation: &'static str,
    /// By status, from [`STATUS_FIRST`].
    counts: Box<[AtomicU64]>,
    durations: Histogram,
}

impl Cell {
    fn new(service: &'static str, operation: &'static str) -> Cell {
        let counts = (0..STATUSES).map(|_| AtomicU64::new(0)).collect();
        Cell { service, operation, counts, durations: Histogram::new(Buckets::DURATION_US) }
    }
}

impl OperationTable {
    pub(crate) fn new() -> OperationTable {
        OperationTable { cells: (0..CELLS).map(|_| OnceLock::new()).collect() }
    }

    /// Counts one operation that ended.
    pub(crate) fn record(
        &self,
        service: &'static str,
        operation: &'static str,
        status: u16,
        took: Duration,
    ) {
        let cell = self.cell(service, operation);
        let index = usize::from(status.saturating_sub(STATUS_FIRST)).min(STATUSES - 1);
        cell.counts[index].fetch_add(1, Ordering::Relaxed);
        cell.durations.observe_duration(took);
    }

    fn cell(&self, service: &'static str, operation: &'static str) -> &Cell {
        let mut hasher = std::hash::DefaultHasher::new();
        (service, operation).hash(&mut hasher);
        let start = hasher.finish() as usize % CELLS;
        for step in 0..CELLS {
            let cell =
                self.cells[(start + step) % CELLS].get_or_init(|| Cell::new(service, operation));
            if cell.operation == operation && cell.service == service {
                return cell;
            }
        }
        self.cells[CELLS - 1].get_or_init(|| Cell::new("other", "other"))
    }

    pub(crate) fn print(&self, out: &mut String) {
        let mut cells: Vec<&Cell> = self.cells.iter().filter_map(OnceLock::get).collect();
        if cells.is_empty() {
            return;
        }
        cells.sort_by_key(|cell| (cell.service, cell.operation));
        header(out, "lambic_operations_total", "Operations by status.", "counter");
        for cell in &cells {
            for (index, count) in cell.counts.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = labels(cell);
                    let status = index + usize::from(STATUS_FIRST);
                    let _ = writeln!(
                        out,
                        "lambic_operations_total{{{labels},status=\"{status}\"}} {count}"
                    );
                }
            }
        }
        let name = "lambic_operation_duration_seconds";
        header(out, name, "Time from decoding to the encoded answer.", "histogram");
        for cell in &cells {
            cell.durations.print(name, &labels(cell), out);
        }
    }
}

fn labels(cell: &Cell) -> String {
    format!("service=\"{}\",operation=\"{}\"", cell.service, cell.operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_status() {
        let table = OperationTable::new();
        table.record("lambda", "Invoke", 200, Duration::from_millis(3));
        table.record("lambda", "Invoke", 200, Duration::from_millis(3));
        table.record("lambda", "Invoke", 429, Duration::from_micros(3));
        table.record("sqs", "Invoke", 9_999, Duration::ZERO);
        let mut out = String::new();
        table.print(&mut out);
        for wanted in [
            "lambic_operations_total{service=\"lambda\",operation=\"Invoke\",status=\"200\"} 2",
            "lambic_operations_total{service=\"lambda\",operation=\"Invoke\",status=\"429\"} 1",
            "lambic_operations_total{service=\"sqs\",operation=\"Invoke\",status=\"599\"} 1",
            "lambic_operation_duration_seconds_count{service=\"lambda\",operation=\"Invoke\"} 3",
        ] {
            assert!(out.contains(wanted), "{wanted} is missing in\n{out}");
        }
    }

    #[test]
    fn a_full_table_still_counts() {
        let table = OperationTable::new();
        for number in 0..CELLS + 5 {
            let name: &'static str = Box::leak(format!("Op{number}").into_boxed_str());
            table.record("s", name, 200, Duration::ZERO);
        }
        let counted = table.cells.iter().filter_map(OnceLock::get);
        let total: u64 = counted.map(|cell| cell.durations.count()).sum();
        assert_eq!(total, CELLS as u64 + 5);
    }
}
