//! Figures for Prometheus: counters, gauges, histograms, and the table of operations.
//!
//! Small on purpose: numbers are atomics, registering is rare and takes a lock, counting takes
//! none. A series is registered once and its handle is kept; labels that come from a stranger have
//! no place here, and [`SERIES_MAX`] stops whoever tries.

mod operations;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

pub(crate) use operations::OperationTable;

/// Series that one registry holds at most; later ones count but are not shown.
pub const SERIES_MAX: usize = 10_000;

/// A set of figures. Cloning gives another handle to the same set.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    families: Mutex<Families>,
    operations: OperationTable,
}

#[derive(Default)]
struct Families {
    by_name: BTreeMap<&'static str, Family>,
    series: usize,
}

struct Family {
    help: &'static str,
    kind: Kind,
    /// By the printed labels.
    series: BTreeMap<String, Series>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Clone)]
enum Series {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

/// A number that only grows.
#[derive(Clone, Default)]
pub struct Counter {
    value: Arc<AtomicU64>,
}

impl Counter {
    /// One more.
    pub fn increment(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.value.fetch_add(more, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Clone, Default)]
pub struct Gauge {
    value: Arc<AtomicI64>,
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.value.store(value, Ordering::Relaxed);
    }

    /// So many more, or fewer when negative.
    pub fn add(&self, more: i64) {
        self.value.fetch_add(more, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> i64 {
        self.value.load(Ordering::Relaxed)
    }
}

/// The bounds of a histogram's buckets, and how they are printed.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Upper bounds, ascending, in the unit that is observed.
    pub bounds: &'static [u64],
    /// Observed units in one printed unit: 1,000,000 prints observed microseconds as seconds.
    pub per_printed: u64,
}

impl Buckets {
    /// Durations observed in microseconds and printed in seconds, from 50 µs to 15 min.
    pub const DURATION_US: Buckets = Buckets {
        bounds: &[
            50,
            100,
            250,
            500,
            1_000,
            2_500,
            5_000,
            10_000,
            25_000,
            50_000,
            100_000,
            250_000,
            500_000,
            1_000_000,
            2_500_000,
            5_000_000,
            10_000_000,
            30_000_000,
            60_000_000,
            300_000_000,
            900_000_000,
        ],
        per_printed: 1_000_000,
    };
}

/// How often values fell between bounds.
#[derive(Clone)]
pub struct Histogram {
    inner: Arc<HistogramInner>,
}

struct HistogramInner {
    buckets: Buckets,
    /// One more than there are bounds; not cumulated.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(buckets: Buckets) -> Histogram {
        let counts = (0..=buckets.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { inner: Arc::new(HistogramInner { buckets, counts, sum: AtomicU64::new(0) }) }
    }

    /// Counts one value, in the unit of the bounds.
    pub fn observe(&self, value: u64) {
        let index = self.inner.buckets.bounds.partition_point(|bound| *bound < value);
        self.inner.counts[index].fetch_add(1, Ordering::Relaxed);
        self.inner.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts one duration, for histograms in microseconds.
    pub fn observe_duration(&self, took: std::time::Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// How many values were observed.
    pub fn count(&self) -> u64 {
        self.inner.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn print(&self, name: &str, labels: &str, out: &mut String) {
        let HistogramInner { buckets, counts, sum } = &*self.inner;
        let comma = if labels.is_empty() { "" } else { "," };
        let mut cumulated = 0;
        for (index, count) in counts.iter().enumerate() {
            cumulated += count.load(Ordering::Relaxed);
            let bound = match buckets.bounds.get(index) {
                Some(bound) => scaled(*bound, buckets.per_printed),
                None => "+Inf".to_owned(),
            };
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {cumulated}");
        }
        let braced = braced(labels);
        let sum = scaled(sum.load(Ordering::Relaxed), buckets.per_printed);
        let _ = writeln!(out, "{name}_sum{braced} {sum}");
        let _ = writeln!(out, "{name}_count{braced} {cumulated}");
    }
}

fn scaled(value: u64, per_printed: u64) -> String {
    (value as f64 / per_printed.max(1) as f64).to_string()
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

impl Metrics {
    /// An empty set, for tests and for whoever wants one apart.
    pub fn new() -> Metrics {
        let inner = Inner { families: Mutex::default(), operations: OperationTable::new() };
        Metrics { inner: Arc::new(inner) }
    }

    /// The process's own set, which `/metrics` shows unless the front was given another.
    pub fn process() -> &'static Metrics {
        static PROCESS: OnceLock<Metrics> = OnceLock::new();
        PROCESS.get_or_init(Metrics::new)
    }

    /// A counter; `name` should end in `_total`. The same name and labels give the same counter.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        let new = Counter::default();
        match self.register(name, help, Kind::Counter, labels, Series::Counter(new.clone())) {
            Some(Series::Counter(registered)) => registered,
            _ => new,
        }
    }

    /// A gauge; the same name and labels give the same gauge.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        let new = Gauge::default();
        match self.register(name, help, Kind::Gauge, labels, Series::Gauge(new.clone())) {
            Some(Series::Gauge(registered)) => registered,
            _ => new,
        }
    }

    /// A histogram; `name` should end in the printed unit. The same name and labels give the same
    /// histogram, with the buckets of whoever came first.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        buckets: Buckets,
    ) -> Histogram {
        let new = Histogram::new(buckets);
        match self.register(name, help, Kind::Histogram, labels, Series::Histogram(new.clone())) {
            Some(Series::Histogram(registered)) => registered,
            _ => new,
        }
    }

    /// The registered series; `None` when the set is full or the name is of another kind, in which
    /// case the caller's own series counts unseen.
    fn register(
        &self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: &[(&'static str, &str)],
        new: Series,
    ) -> Option<Series> {
        let labels = print_labels(labels);
        let mut families = self.inner.families.lock().expect(NO_PANIC);
        let full = families.series >= SERIES_MAX;
        let family = families.by_name.entry(name).or_insert_with(|| Family {
            help,
            kind,
            series: BTreeMap::new(),
        });
        if family.kind != kind {
            tracing::error!(name, "a metric of this name exists in another kind");
            return None;
        }
        if let Some(series) = family.series.get(&labels) {
            return Some(series.clone());
        }
        if full {
            tracing::error!(name, "too many metric series");
            return None;
        }
        family.series.insert(labels, new.clone());
        families.series += 1;
        Some(new)
    }

    pub(crate) fn operations(&self) -> &OperationTable {
        &self.inner.operations
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut out = String::with_capacity(16 * 1_024);
        self.inner.operations.print(&mut out);
        let families = self.inner.families.lock().expect(NO_PANIC);
        for (name, family) in &families.by_name {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            header(&mut out, name, family.help, kind);
            for (labels, series) in &family.series {
                match series {
                    Series::Counter(counter) => {
                        let _ = writeln!(out, "{name}{} {}", braced(labels), counter.value());
                    }
                    Series::Gauge(gauge) => {
                        let _ = writeln!(out, "{name}{} {}", braced(labels), gauge.value());
                    }
                    Series::Histogram(histogram) => histogram.print(name, labels, &mut out),
                }
            }
        }
        out
    }
}

const NO_PANIC: &str = "nothing panics while the families are held";

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn header(out: &mut String, name: &str, help: &str, kind: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn print_labels(labels: &[(&'static str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in labels {
        let comma = if out.is_empty() { "" } else { "," };
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let _ = write!(out, "{comma}{name}=\"{value}\"");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_what_prometheus_reads() {
        let metrics = Metrics::new();
        metrics.counter("a_total", "Counts a.", &[("x", "q\"\\\n")]).add(3);
        metrics.gauge("b", "Shows b.", &[]).set(-2);
        let buckets = Buckets { bounds: &[1_000, 2_500_000], per_printed: 1_000_000 };
        let histogram = metrics.histogram("c_seconds", "Times c.", &[("k", "v")], buckets);
        for value in [1_000, 1_001, 9_000_000] {
            histogram.observe(value);
        }
        let text = metrics.render();
        let wanted = "# HELP a_total Counts a.\n# TYPE a_total counter\n\
                      a_total{x=\"q\\\"\\\\\\n\"} 3\n\
                      # HELP b Shows b.\n# TYPE b gauge\nb -2\n\
                      # HELP c_seconds Times c.\n# TYPE c_seconds histogram\n\
                      c_seconds_bucket{k=\"v\",le=\"0.001\"} 1\n\
                      c_seconds_bucket{k=\"v\",le=\"2.5\"} 2\n\
                      c_seconds_bucket{k=\"v\",le=\"+Inf\"} 3\n\
                      c_seconds_sum{k=\"v\"} 9.002001\nc_seconds_count{k=\"v\"} 3\n";
        assert!(text.ends_with(wanted), "{text}");
    }

    #[test]
    fn the_same_name_and_labels_are_the_same_series() {
        let metrics = Metrics::new();
        metrics.counter("a_total", "A.", &[("x", "1")]).increment();
        let again = metrics.counter("a_total", "A.", &[("x", "1")]);
        again.increment();
        assert_eq!(again.value(), 2);
        assert_eq!(metrics.counter("a_total", "A.", &[("x", "2")]).value(), 0);
    }

    #[test]
    fn a_wrong_kind_counts_unseen() {
        let metrics = Metrics::new();
        metrics.counter("a", "A.", &[]);
        metrics.gauge("a", "A.", &[]).set(5);
        assert!(metrics.render().contains("a 0\n"));
    }

    #[test]
    fn the_number_of_series_is_bounded() {
        let metrics = Metrics::new();
        for number in 0..SERIES_MAX + 10 {
            metrics.counter("a_total", "A.", &[("n", &number.to_string())]).increment();
        }
        assert_eq!(metrics.render().matches("a_total{").count(), SERIES_MAX);
    }
}
