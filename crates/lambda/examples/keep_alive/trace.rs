//! A made-up day of many functions, with the published shape of real ones.
//!
//! The figures are those of Shahrad et al., "Serverless in the Wild" (USENIX ATC 2020; two weeks of Azure
//! Functions in 2019): which share of functions has which trigger, how unequal their rates are, how long
//! they run (log-normal), how much memory they have (Burr). What the paper does not tell is assumed here
//! and marked: the shapes of the inter-arrival times (Weibull), and how long starts take. The same seed
//! gives the same day.

/// Microseconds from the beginning of the day.
pub(crate) type Time = u64;

pub(crate) const SECOND: Time = 1_000_000;
pub(crate) const DAY: Time = 24 * 3_600 * SECOND;

/// One invocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) at: Time,
    pub(crate) function: u32,
    /// How long it runs, in microseconds.
    pub(crate) runs: u32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) memory_mb: u32,
    /// How long its start takes, in microseconds.
    pub(crate) start: Time,
}

pub(crate) struct Trace {
    pub(crate) functions: Vec<Function>,
    /// In order of time.
    pub(crate) calls: Vec<Call>,
}

/// SplitMix64; what is drawn must be the same on every machine.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and below 1.
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    fn log_normal(&mut self, log_mean: f64, log_deviation: f64) -> f64 {
        (log_mean + log_deviation * self.normal()).exp()
    }

    /// With mean 1; `gamma` is Γ(1 + 1 / shape).
    fn weibull(&mut self, shape: f64, gamma: f64) -> f64 {
        (-self.uniform().ln()).powf(1.0 / shape) / gamma
    }

    fn pick<T: Copy>(&mut self, choices: &[(f64, T)]) -> T {
        let mut left = self.uniform() * choices.iter().map(|(weight, _)| weight).sum::<f64>();
        for (weight, choice) in choices {
            left -= weight;
            if left < 0.0 {
                return *choice;
            }
        }
        choices[choices.len() - 1].1
    }
}

#[derive(Clone, Copy)]
enum Trigger {
    /// Called at even intervals.
    Timer,
    /// Called as events come: how many as many as the average function, the shape of the Weibull
    /// distribution of the times between (assumed: the smaller, the burstier), Γ(1 + 1 / shape), and
    /// whether there is a day and a night.
    Events { rate: f64, shape: f64, gamma: f64, sleeps: bool },
}

const fn events(rate: f64, shape: f64, gamma: f64, sleeps: bool) -> Trigger {
    Trigger::Events { rate, shape, gamma, sleeps }
}

/// Share of functions, in percent. The rates make the shares of invocations that the paper shows: HTTP
/// 36 %, queue 34 %, event 25 %, and little of the others.
const TRIGGERS: [(f64, Trigger); 7] = [
    (55.0, events(0.65, 0.6, 1.504_6, true)),  // HTTP
    (15.2, events(2.2, 0.4, 3.323_4, false)),  // queue
    (2.2, events(11.0, 0.7, 1.265_8, false)),  // event
    (6.9, events(0.33, 0.35, 5.029_1, false)), // orchestration
    (15.6, Trigger::Timer),
    (2.8, events(0.25, 0.5, 2.0, false)), // storage
    (2.2, events(0.45, 0.5, 2.0, false)), // others
];

/// Periods of timers, in seconds, by share (assumed).
const PERIODS: [(f64, u64); 7] = [
    (12.0, 60),
    (22.0, 300),
    (8.0, 600),
    (13.0, 900),
    (10.0, 1_800),
    (20.0, 3_600),
    (15.0, 86_400),
];

/// Share of functions below, and invocations in a day: 45 % have one an hour or less, 81 % one a minute
/// or less. The busiest that Azure saw are left out: they keep their environments under any policy.
const RATES: [(f64, f64); 5] =
    [(0.0, 0.15), (0.45, 24.0), (0.81, 1_440.0), (0.96, 15_000.0), (1.0, 90_000.0)];

/// Starts (assumed, after what is measured here without spares): a part that the runtime needs and a
/// log-normal one for what the function loads, in seconds.
const STARTS: [(f64, (f64, f64, f64)); 4] = [
    (15.0, (0.010, 0.005, 1.0)), // native
    (40.0, (0.040, 0.120, 1.2)), // Python
    (35.0, (0.060, 0.100, 1.0)), // Node.js
    (10.0, (0.400, 0.800, 0.6)), // Java
];

/// No function is at work in more environments than this on average (assumed): one machine's share.
const AT_ONCE_MAX: f64 = 4.0;

fn rate_per_day(random: &mut Random) -> f64 {
    let share = random.uniform();
    let at = RATES.iter().position(|(below, _)| share < *below).unwrap_or(RATES.len() - 1);
    let ((from, low), (to, high)) = (RATES[at - 1], RATES[at]);
    low * (high / low).powf((share - from) / (to - from))
}

/// The Burr distribution that the paper fits to the memory of applications, in steps of 64 MB.
fn memory_mb(random: &mut Random) -> u32 {
    let (c, k, lambda) = (11.652, 0.221, 107.083);
    let mb = lambda * ((1.0 - random.uniform()).powf(-1.0 / k) - 1.0).powf(1.0 / c);
    ((mb / 64.0).ceil() as u32 * 64).clamp(128, 3_008)
}

/// Many functions for a day.
pub(crate) fn make(seed: u64, functions: u32) -> Trace {
    let mut random = Random::new(seed);
    let mut trace = Trace { functions: Vec::new(), calls: Vec::new() };
    for function in 0..functions {
        let (base, loads, spread) = random.pick(&STARTS);
        let start_s = (base + random.log_normal(f64::ln(loads), spread)).min(8.0);
        let memory_mb = memory_mb(&mut random);
        trace.functions.push(Function { memory_mb, start: (start_s * 1e6) as Time });
        let trigger = random.pick(&TRIGGERS);
        add_calls(&mut trace.calls, &mut random, function, trigger);
    }
    trace.calls.sort_by_key(|call| (call.at, call.function));
    trace
}

fn add_calls(calls: &mut Vec<Call>, random: &mut Random, function: u32, trigger: Trigger) {
    let per_day = match trigger {
        Trigger::Timer => DAY as f64 / (random.pick(&PERIODS) * SECOND) as f64,
        Trigger::Events { rate, .. } => (rate_per_day(random) * rate).min(200_000.0),
    };
    let usual_s = random.log_normal(-0.38, 2.36).clamp(0.001, 60.0);
    let usual_s = usual_s.min(AT_ONCE_MAX * 86_400.0 / per_day);
    let mean = DAY as f64 / per_day;
    let mut at = mean * random.uniform();
    while at < DAY as f64 {
        let runs = (usual_s * random.log_normal(0.0, 0.4)).clamp(0.000_5, 900.0);
        calls.push(Call { at: at as Time, function, runs: (runs * 1e6) as u32 });
        at += match trigger {
            // Timers are late by a moment.
            Trigger::Timer => mean + random.uniform() * 0.05e6 - 0.025e6,
            Trigger::Events { shape, gamma, sleeps, .. } => {
                let hour = (at / DAY as f64 - 0.25) * std::f64::consts::TAU;
                let now = if sleeps { 1.0 + 0.6 * hour.sin() } else { 1.0 };
                // Nothing comes twice in the same moment.
                (mean * random.weibull(shape, gamma) / now).max(1.0)
            }
        };
    }
}
