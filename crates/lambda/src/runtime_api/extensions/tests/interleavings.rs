//! Every reachable state of a desk with a runtime, an external and an internal extension, a timer and
//! a caller, and every step from each of them.
//!
//! A state is what can be seen of it; it is reached again from the beginning by the shortest way. What
//! must hold at every step: an invocation ends exactly once for its caller and in the log, in the log
//! after the runtime is done; the owner hears `ready` when and only when runtime and extensions wait;
//! an environment that has ended takes no more work; whoever waits is told of the end.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::invoke::fault::{Exit, Fault};
use crate::runtime_api::desk::{Completion, Finished, NextEvent};
use crate::runtime_api::extensions::crew::Subscriptions;
use crate::runtime_api::extensions::life::Move as Reported;
use crate::runtime_api::extensions::{ExtensionEvent, ShutdownReason};
use crate::runtime_api::life::{Life, Move};
use crate::runtime_api::tests::Bench;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    RuntimeNext,
    BeginAnswer,
    Answer,
    AnswerBroken,
    RuntimeInitError,
    RuntimeExits,
    RegisterOuter,
    RegisterInner,
    OuterNext,
    InnerNext,
    OuterReports,
    OuterExits,
    HandOut,
    TimeOut,
    Overrun,
    ShutDown,
}

const STEPS: [Step; 16] = [
    Step::RuntimeNext,
    Step::BeginAnswer,
    Step::Answer,
    Step::AnswerBroken,
    Step::RuntimeInitError,
    Step::RuntimeExits,
    Step::RegisterOuter,
    Step::RegisterInner,
    Step::OuterNext,
    Step::InnerNext,
    Step::OuterReports,
    Step::OuterExits,
    Step::HandOut,
    Step::TimeOut,
    Step::Overrun,
    Step::ShutDown,
];

/// Invocations of one life; more would only repeat what two show.
const INVOCATIONS: usize = 2;

/// One environment and what its parties have in hand.
struct Play {
    bench: Bench,
    outer: Option<String>,
    inner: Option<String>,
    /// Requests for an event that are still open.
    waiting: Vec<oneshot::Receiver<ExtensionEvent>>,
    runtime_waits: Option<oneshot::Receiver<std::sync::Arc<crate::runtime_api::desk::Event>>>,
    handed: usize,
    caller: Option<oneshot::Receiver<Finished>>,
    ends: usize,
    log: Vec<String>,
    is_over: bool,
}

impl Play {
    fn new() -> Play {
        Play {
            bench: Bench::with_extensions(&["outer"]),
            outer: None,
            inner: None,
            waiting: Vec::new(),
            runtime_waits: None,
            handed: 0,
            caller: None,
            ends: 0,
            log: Vec::new(),
            is_over: false,
        }
    }

    fn id(&self) -> String {
        format!("r{}", self.handed)
    }

    fn register(&self, name: &str, shutdown: bool) -> Option<String> {
        self.bench.desk.register(name, Subscriptions { invoke: true, shutdown }).ok()
    }

    fn ask(&mut self, id: Option<String>) {
        let Some(id) = id else { return };
        self.waiting.extend(self.bench.desk.extension_next(&id).ok());
    }

    fn step(&mut self, step: Step) {
        let desk = self.bench.desk.clone();
        match step {
            Step::RuntimeNext => {
                if let Ok(NextEvent::Later(receiver)) = desk.next() {
                    self.runtime_waits = Some(receiver);
                }
            }
            Step::BeginAnswer => drop(desk.begin_answer(&self.id(), Move::Response)),
            Step::Answer => drop(desk.answer(Completion::Response(Bytes::new()))),
            Step::AnswerBroken => desk.answer_broken(),
            Step::RuntimeInitError => drop(desk.init_error(Bytes::new(), "E".to_owned())),
            Step::RuntimeExits => desk.exited(Exit::default()),
            Step::RegisterOuter => self.outer = self.register("outer", true).or(self.outer.take()),
            Step::RegisterInner => self.inner = self.register("inner", false).or(self.inner.take()),
            Step::OuterNext => self.ask(self.outer.clone()),
            Step::InnerNext => self.ask(self.inner.clone()),
            Step::OuterReports => {
                if let Some(id) = &self.outer {
                    let _ = desk.extension_error(id, Reported::ExitError, "Extension.A");
                }
            }
            Step::OuterExits => {
                let fault = desk.extension_exited(0, "exit code 0".to_owned());
                desk.fail(fault);
            }
            Step::HandOut => {
                if self.handed < INVOCATIONS {
                    let id = format!("r{}", self.handed + 1);
                    if let Ok(receiver) = self.bench.hand_out(&id) {
                        assert!(!self.is_over, "work for an environment that has ended");
                        self.handed += 1;
                        self.caller = Some(receiver);
                    }
                }
            }
            Step::TimeOut => {
                let timeout = std::time::Duration::from_secs(3);
                if desk.time_out(&self.id(), timeout).is_some() {
                    self.ends += 1;
                    self.caller = None;
                }
            }
            Step::Overrun => desk.overrun(),
            Step::ShutDown => {
                let _ = desk.shut_down(ShutdownReason::Spindown, 1);
                desk.fail(Fault::Exited(Exit::default()));
            }
        }
        self.check();
    }

    fn check(&mut self) {
        if let Some(caller) = &mut self.caller
            && caller.try_recv().is_ok()
        {
            self.ends += 1;
            self.caller = None;
        }
        self.is_over |= self.bench.desk.life() == Life::Dead;
        self.log.extend(self.bench.told.take());
        assert!(self.ends <= self.handed);
        if self.bench.desk.life() != Life::Running && self.bench.desk.life() != Life::Answering {
            assert_eq!(self.ends, self.handed, "a caller was forgotten");
        }
        for number in 1..=self.handed {
            let count = |text: &str| self.log.iter().filter(|line| line.starts_with(text)).count();
            let (done, record) = (format!("done r{number}"), format!("record r{number} "));
            assert!(count(&done) <= 1 && count(&record) <= 1, "{:?}", self.log);
            let at = |text: &str| self.log.iter().position(|line| line.starts_with(text));
            if let Some(record) = at(&record) {
                assert!(at(&done).is_some_and(|done| done < record), "{:?}", self.log);
            }
            let next_begins = at(&format!("begins r{}", number + 1));
            assert!(next_begins.is_none() || at(&record).is_some(), "{:?}", self.log);
        }
        self.check_ready();
    }

    /// `ready` was said exactly as often as everybody came to wait.
    fn check_ready(&self) {
        let readies = self.log.iter().filter(|line| *line == "ready").count();
        let all_wait = self.bench.desk.life() == Life::Idle
            && self.bench.desk.extensions().iter().all(|info| info.state == "Ready");
        assert!(readies >= self.handed, "{:?}", self.log);
        if all_wait {
            assert_eq!(readies, self.handed + 1, "{:?}", self.log);
        }
        assert!(readies <= self.handed + 1, "{:?}", self.log);
    }

    fn fingerprint(&self) -> String {
        let states: Vec<_> = self.bench.desk.extensions().iter().map(|info| info.state).collect();
        let recorded = self.log.iter().filter(|line| line.starts_with("record")).count();
        let done = self.log.iter().filter(|line| line.starts_with("done")).count();
        let open = self.waiting.iter().filter(|waiting| !waiting.is_terminated()).count().min(2);
        format!(
            "{:?} {states:?} {} {} {recorded} {done} {open} {}",
            self.bench.desk.life(),
            self.handed,
            self.ends,
            self.log.last().map_or("", String::as_str),
        )
    }

    /// At the end of everything nobody waits and nothing is unrecorded.
    fn close(mut self) {
        self.bench.desk.close(Exit::default());
        self.check();
        assert_eq!(self.ends, self.handed);
        let records = self.log.iter().filter(|line| line.starts_with("record")).count();
        assert_eq!(records, self.handed, "{:?}", self.log);
        for mut waiting in self.waiting {
            let last = waiting.try_recv();
            assert_ne!(
                last.err(),
                Some(oneshot::error::TryRecvError::Empty),
                "somebody still waits"
            );
        }
        if let Some(mut runtime) = self.runtime_waits {
            let last = runtime.try_recv();
            assert_ne!(last.err(), Some(oneshot::error::TryRecvError::Empty), "the runtime waits");
        }
    }
}

#[tokio::test]
async fn every_order_of_steps() {
    let mut seen = HashSet::new();
    let mut ways: VecDeque<Vec<Step>> = VecDeque::from([Vec::new()]);
    while let Some(way) = ways.pop_front() {
        for step in STEPS {
            let mut play = Play::new();
            way.iter().for_each(|step| play.step(*step));
            play.step(step);
            if seen.insert(play.fingerprint()) {
                let longer = way.iter().copied().chain([step]).collect();
                ways.push_back(longer);
            }
            play.close();
        }
    }
    // As many as there are today: fewer would mean that some are not reached any more.
    assert!(seen.len() >= 300, "only {} states", seen.len());
}
