//! What `/metrics` shows of the invoke path: numbers that an operator watches. No series is labelled
//! with a function's name, because those are strangers' texts and without a bound.

use lambic_front::metrics::{Buckets, Counter, Gauge, Histogram, Metrics};

use super::place::Used;
use super::platform_events::billed_ms;
use super::spares::Waiting;
use crate::runtime_api::desk::Outcome;

/// What environments wait for: functions of a runtime, or any (the first one).
const WAITING_FOR: [&str; 5] = ["any", "python", "nodejs", "ruby", "java"];

/// Totals since the start of the server, and what there is now.
pub(crate) struct Figures {
    pub(crate) invocations: Counter,
    pub(crate) errors: Counter,
    pub(crate) throttles: Counter,
    pub(crate) cold_starts: Counter,
    pub(crate) billed_ms: Counter,
    pub(crate) durations: Histogram,
    pub(crate) environments_started: Counter,
    pub(crate) environments: Gauge,
    pub(crate) memory_promised_mb: Gauge,
    pub(crate) environments_evicted: Counter,
    pub(crate) environments_let_go: Counter,
    pub(crate) waits_saved_a_start: Counter,
    pub(crate) spares: Gauge,
    /// By runtime, in the order of [`WAITING_FOR`]: how many wait, and how many are asked for.
    waiting: [(Gauge, Gauge); WAITING_FOR.len()],
    pub(crate) spares_used: Counter,
    pub(crate) spares_missed: Counter,
    pub(crate) snapshots: Gauge,
    pub(crate) snapshots_taken: Counter,
    pub(crate) restored: Counter,
    pub(crate) not_restored: Counter,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics) -> Figures {
        let counter = |name, help| metrics.counter(name, help, &[]);
        let gauge = |name, help| metrics.gauge(name, help, &[]);
        Figures {
            invocations: counter("lambic_invocations_total", "Invocations that ended."),
            errors: counter(
                "lambic_invocation_errors_total",
                "Invocations that ended with an error of the function: thrown, timed out, crashed.",
            ),
            throttles: counter("lambic_throttles_total", "Invokes refused with 429."),
            cold_starts: counter(
                "lambic_cold_starts_total",
                "Invocations that were the first of their execution environment.",
            ),
            billed_ms: counter("lambic_billed_ms_total", "Milliseconds billed."),
            durations: metrics.histogram(
                "lambic_invocation_duration_seconds",
                "Time from the event to the end of the answer, without the environment's start.",
                &[],
                Buckets::DURATION_US,
            ),
            environments_started: counter(
                "lambic_environments_started_total",
                "Execution environments whose start began.",
            ),
            environments: gauge("lambic_environments", "Execution environments now."),
            memory_promised_mb: gauge(
                "lambic_memory_promised_mb",
                "Memory sizes of all execution environments, in MB.",
            ),
            environments_evicted: counter(
                "lambic_environments_evicted_total",
                "Idle execution environments that ended because their room was needed.",
            ),
            environments_let_go: counter(
                "lambic_environments_let_go_total",
                "Idle execution environments that ended by themselves: not worth their memory, idle \
                 for too long, or too old.",
            ),
            waits_saved_a_start: counter(
                "lambic_waits_saved_a_start_total",
                "Invocations that waited for an environment at work instead of starting another.",
            ),
            spares: gauge(
                "lambic_spares",
                "Interpreters that have been started and wait for a function.",
            ),
            waiting: waiting(metrics),
            spares_used: counter(
                "lambic_spares_used_total",
                "Execution environments that were made from a spare.",
            ),
            spares_missed: counter(
                "lambic_spares_missed_total",
                "Execution environments that could have been, when no spare was at hand.",
            ),
            snapshots: gauge("lambic_snapshots", "Snapshots of versions with SnapStart now."),
            snapshots_taken: counter("lambic_snapshots_taken_total", "Snapshots that were taken."),
            restored: counter(
                "lambic_restored_total",
                "Execution environments that were restored from a snapshot.",
            ),
            not_restored: counter(
                "lambic_not_restored_total",
                "Execution environments of versions with SnapStart that were initialized, because \
                 there was no snapshot or it could not be restored.",
            ),
        }
    }

    /// Adds one invocation.
    pub(super) fn invocation_ended(&self, outcome: &Outcome) {
        self.invocations.increment();
        self.errors.add(u64::from(outcome.is_error));
        self.cold_starts.add(u64::from(outcome.init.is_some()));
        self.billed_ms.add(billed_ms(outcome));
        self.durations.observe_duration(outcome.duration);
    }

    /// What there is now.
    pub(super) fn environments_are(&self, used: Used) {
        self.environments.set(i64::try_from(used.environments).unwrap_or(i64::MAX));
        self.memory_promised_mb.set(i64::try_from(used.memory_mb).unwrap_or(i64::MAX));
    }

    /// What waits and is to wait for functions of this runtime; `None` is what is ready for any.
    pub(super) fn wait_for(&self, runtime: Option<&str>, waiting: Waiting) {
        let at = WAITING_FOR.iter().position(|known| *known == runtime.unwrap_or(WAITING_FOR[0]));
        if let Some((now, wanted)) = at.map(|at| &self.waiting[at]) {
            now.set(i64::try_from(waiting.now).unwrap_or(i64::MAX));
            wanted.set(i64::try_from(waiting.asked_for).unwrap_or(i64::MAX));
        }
        let spares = self.waiting[1..].iter().map(|(now, _)| now.value()).sum();
        self.spares.set(spares);
    }

    /// For which runtimes that is told.
    pub(super) fn waiting_for() -> impl Iterator<Item = Option<&'static str>> {
        std::iter::once(None).chain(WAITING_FOR[1..].iter().copied().map(Some))
    }

    /// Environments now, and their memory in MB.
    #[cfg(test)]
    pub(crate) fn used(&self) -> (i64, i64) {
        (self.environments.value(), self.memory_promised_mb.value())
    }
}

fn waiting(metrics: &Metrics) -> [(Gauge, Gauge); WAITING_FOR.len()] {
    WAITING_FOR.map(|runtime| {
        let gauge = |name, help| metrics.gauge(name, help, &[("runtime", runtime)]);
        let now = gauge(
            "lambic_environments_waiting",
            "Execution environments that wait for a function, by the runtime that it has to have: \
             spares, and what is ready for any that is not made from a spare.",
        );
        let wanted = gauge(
            "lambic_environments_waiting_wanted",
            "How many are to wait, for as many starts as are expected; of those for any runtime how \
             many more than the few that always do.",
        );
        (now, wanted)
    })
}
