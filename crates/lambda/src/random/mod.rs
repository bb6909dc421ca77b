//! Random requests against every operation.
//!
//! Inputs come from AWS's own model of the service (`model.rs`, `generate.rs`), most of them as it
//! allows, the others with something wrong in them (`request.rs`). They name few functions and layers,
//! so that a sequence of them meets what the ones before it left. What must hold of every answer stands
//! in `reply.rs`, what must hold after a sequence in `state.rs`.
//!
//! One seed is one sequence. `LAMBIC_RANDOM_SEQUENCES=1000` makes a longer run, and
//! `LAMBIC_RANDOM_SEED=7 LAMBIC_RANDOM_SEQUENCES=1` repeats the one that failed.

mod dice;
mod generate;
mod model;
mod reply;
mod request;
mod state;
mod words;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use lambic_model_lambda::{Routed, route};
use lambic_rt::{Rt, TaskKind};

use self::dice::Dice;
use self::generate::Generator;
use self::model::{Model, Operation};
use self::request::Draft;
use crate::ops::testing::{Harness, Reply};

/// Requests of one sequence.
const REQUESTS: usize = 300;
/// Sequences when nothing is said.
const SEQUENCES: u64 = 120;
/// The same where several requests are sent at once.
const SEQUENCES_TOGETHER: u64 = 20;
/// What every sequence begins with.
const BEGINNING: [&str; 7] = [
    "CreateFunction",
    "CreateFunction",
    "PublishLayerVersion",
    "PublishVersion",
    "UpdateFunctionCode",
    "PublishVersion",
    "CreateAlias",
];
/// An answer that takes longer never comes, in seconds.
const ANSWER_S_MAX: u64 = 60;
/// Requests that are told with a fault.
const TOLD: usize = 8;

/// Faults by what they are, each with the first case of it.
type Faults = BTreeMap<String, String>;

#[tokio::test]
async fn whatever_is_asked_the_answer_is_one_of_aws_s_and_the_state_stays_whole() {
    let model = Model::read();
    let successes = run(&model, SEQUENCES, 1).await;
    println!("successes: {successes:?}");
    // A run of which nothing succeeds would show nothing.
    if from_environment("LAMBIC_RANDOM_SEQUENCES").is_none_or(|count| count >= SEQUENCES) {
        let offered = model.operations.iter().filter(|operation| operation.is_offered);
        let never: Vec<_> = offered.filter(|one| !successes.contains_key(&one.name)).collect();
        let never: Vec<&str> = never.iter().map(|one| one.name.as_str()).collect();
        assert!(never.is_empty(), "these never succeeded: {never:?}; see words.rs");
    }
}

/// Who of several is served first is not decided by the seed, so what fails here need not fail again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_at_the_same_time_leave_the_state_whole_too() {
    run(&Model::read(), SEQUENCES_TOGETHER, 6).await;
}

/// Runs so many sequences, which ask so much at the same time. Answers how often which operation
/// succeeded.
async fn run(model: &Model, count: u64, together: usize) -> BTreeMap<String, u64> {
    let (mut faults, mut successes) = (Faults::new(), BTreeMap::new());
    let first = from_environment("LAMBIC_RANDOM_SEED").unwrap_or(1);
    let count = from_environment("LAMBIC_RANDOM_SEQUENCES").unwrap_or(count);
    for seed in first..first + count {
        let mut sequence = Sequence::new(model, seed).await;
        sequence.run(together, &mut faults).await;
        for (operation, count) in sequence.successes {
            *successes.entry(operation).or_insert(0) += count;
        }
    }
    let mut report = String::new();
    for (fault, case) in &faults {
        writeln!(report, "\n=== {fault}\n{case}").unwrap();
    }
    assert!(faults.is_empty(), "{} faults:{report}", faults.len());
    successes
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// One run of requests against a service of its own.
struct Sequence<'m> {
    model: &'m Model,
    seed: u64,
    dice: Dice,
    generator: Generator<'m>,
    harness: Arc<Harness>,
    rt: Rt,
    /// The last requests and their answers, for whoever has to find out.
    past: VecDeque<String>,
    successes: BTreeMap<String, u64>,
}

impl<'m> Sequence<'m> {
    async fn new(model: &'m Model, seed: u64) -> Sequence<'m> {
        Sequence {
            model,
            seed,
            dice: Dice::new(seed),
            generator: Generator::new(model),
            harness: Arc::new(Harness::new().await),
            rt: Rt::real(),
            past: VecDeque::new(),
            successes: BTreeMap::new(),
        }
    }

    /// Sends its requests, so many at the same time, and looks at what they leave.
    async fn run(&mut self, together: usize, faults: &mut Faults) {
        // Without functions most requests would find nothing.
        for name in BEGINNING.into_iter().filter(|name| self.model.offers(name)) {
            let operation = self.model.operations.iter().find(|one| one.name == name).unwrap();
            let draft = self.draft(operation, false);
            self.ask(vec![draft], faults).await;
            self.harness.settle().await;
        }
        for _ in 0..REQUESTS / together {
            let mut drafts = Vec::new();
            for _ in 0..together {
                let Some(operation) = self.choose() else { continue };
                let spoilt = self.dice.percent(30);
                drafts.push(self.draft(operation, spoilt));
            }
            self.ask(drafts, faults).await;
            if self.dice.percent(80) {
                self.harness.settle().await;
            }
        }
        self.harness.settle().await;
        if let Err(fault) = state::check(self.model, &self.harness).await {
            self.fault(faults, "state", &fault);
        }
        if let Err(fault) = state::clear(self.model, &self.harness).await {
            self.fault(faults, "after everything was deleted", &fault);
        }
    }

    /// What is asked next. What takes away is asked less often, so that the rest finds something.
    fn choose(&mut self) -> Option<&'m Operation> {
        let all: Vec<&Operation> = self.model.operations.iter().collect();
        let offered: Vec<&Operation> = all.iter().copied().filter(|one| one.is_offered).collect();
        let named = |name: &str| offered.iter().copied().find(|one| one.name == name);
        match self.dice.below(100) {
            // What is not offered must say so however it is asked.
            0 | 1 => return Some(all[self.dice.below(all.len())]),
            2..=5 => return named("CreateFunction"),
            6..=8 => return named("UpdateFunctionCode"),
            9..=11 => return named("PublishVersion"),
            12..=15 => return named("CreateAlias"),
            _ => {}
        }
        let operation = offered[self.dice.below(offered.len())];
        let takes_away = operation.name.starts_with("Delete");
        let chance = if operation.name == "DeleteFunction" { 92 } else { 70 };
        let dropped = takes_away && self.dice.percent(chance);
        (!dropped).then_some(operation)
    }

    /// A request of this operation, and whether something is to be wrong with it.
    fn draft(&mut self, operation: &Operation, spoilt: bool) -> Draft {
        let input = self.generator.input(&mut self.dice, operation);
        let mut draft = Draft::of(self.model, operation, &input);
        if spoilt {
            for _ in 0..=self.dice.below(2) {
                draft.spoil(&mut self.dice);
            }
        }
        draft
    }

    /// Sends them all at once and looks at each answer.
    async fn ask(&mut self, drafts: Vec<Draft>, faults: &mut Faults) {
        // Tasks of their own, so that they run on several threads where there are several.
        let answers = drafts.iter().map(|draft| {
            let (harness, request) = (self.harness.clone(), draft.request());
            let sending = async move { harness.send(request).await };
            self.rt.spawn("request", TaskKind::Request, sending)
        });
        let limit = Duration::from_secs(ANSWER_S_MAX);
        let Some(replies) = self.rt.within(limit, join_all(answers)).await else {
            let told = Vec::from_iter(drafts.iter().map(Draft::told)).join("\n");
            return self.fault(faults, "the service", &format!("does not answer\n{told}"));
        };
        for (draft, reply) in drafts.iter().zip(replies) {
            match reply {
                Some(reply) => self.look_at(draft, &reply, faults),
                None => self.fault(faults, "the service", &format!("panics\n{}", draft.told())),
            }
        }
    }

    fn look_at(&mut self, draft: &Draft, reply: &Reply, faults: &mut Faults) {
        let request = draft.request();
        let asked = match route(&request.method, &request.path, &request.query) {
            Routed::Op(op, _) => self.model.operations.iter().find(|one| one.name == op.name()),
            Routed::MethodNotAllowed | Routed::Unknown => None,
        };
        self.remember(draft, reply);
        if (200..300).contains(&reply.status) {
            if let Ok(document) = serde_json::from_slice(&reply.body) {
                self.generator.learn(&document);
            }
            if let Some(asked) = asked {
                *self.successes.entry(asked.name.clone()).or_insert(0) += 1;
            }
        }
        if let Err(fault) = reply::check(self.model, asked, reply) {
            let asked = asked.map_or("nothing", |one| one.name.as_str());
            self.fault(faults, asked, &fault);
        }
    }

    fn remember(&mut self, draft: &Draft, reply: &Reply) {
        let body: String = String::from_utf8_lossy(&reply.body).chars().take(400).collect();
        let code = reply.code();
        self.past.push_back(format!("{}\n→ {} {code} {body}", draft.told(), reply.status));
        if self.past.len() > TOLD {
            self.past.pop_front();
        }
    }

    /// Notes a fault, once for each kind of it.
    fn fault(&self, faults: &mut Faults, place: &str, what: &str) {
        // Numbers and names differ from case to case.
        let letters = what.chars().filter(|letter| letter.is_alphabetic() || *letter == ' ');
        let kind: String = letters.take(70).collect();
        let case = || {
            let past = Vec::from_iter(self.past.iter().map(String::as_str)).join("\n");
            let seed = self.seed;
            format!(
                "{what}\nLAMBIC_RANDOM_SEED={seed} LAMBIC_RANDOM_SEQUENCES=1, at the end of:\n{past}"
            )
        };
        faults.entry(format!("{place}: {kind}")).or_insert_with(case);
    }
}
