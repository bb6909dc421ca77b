//! From rules to a program for the kernel's filter machine (classic BPF).
//!
//! The kernel runs a new filter once for every system call number there is, to learn which it need
//! not ask about again; a list that is walked from its top makes that the most expensive step of a
//! start (0.9 ms for 330 numbers). So the numbers become a tree over ranges of the same verdict,
//! about eight comparisons deep (0.1 ms).

use std::collections::BTreeMap;

use libc::sock_filter;

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes through.
    Allow,
    /// It fails with this `errno`.
    Fail(i32),
    /// It goes through if all tests of one of these hold; else it fails with `EPERM`.
    Unless(Vec<Vec<Test>>),
    /// It fails with `EPERM` if the test holds; else it goes through.
    FailIf(Test),
}

/// A test of the low 32 bits of an argument, all that the kernel looks at in those we test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Which argument, from 0.
    pub(super) argument: u32,
    /// The bits that count.
    pub(super) mask: u32,
    /// What they are compared with.
    pub(super) value: u32,
    /// Whether they have to be equal, or different.
    pub(super) equal: bool,
}

/// Verdicts by number of the call, and the one for all other numbers.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) calls: BTreeMap<u32, Verdict>,
    pub(super) otherwise: Verdict,
}

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const IF_AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JA) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Programs that the kernel takes have at most this many instructions.
const INSTRUCTIONS_MAX: usize = 4_096;

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// The program for these rules. Calls of another architecture's numbering end the process.
pub(super) fn assemble(rules: &Rules, architecture: u32) -> Result<Vec<sock_filter>, String> {
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE),
        branch(IF_EQUAL, architecture, 1, 0),
        instruction(RETURN, libc::SECCOMP_RET_KILL_PROCESS),
        instruction(LOAD, NUMBER),
    ];
    program.extend(tree(&ranges(rules)));
    if program.len() > INSTRUCTIONS_MAX {
        return Err(format!("a filter of {} instructions is too long", program.len()));
    }
    Ok(program)
}

/// All numbers, as the starts of the ranges in which the verdict is the same.
fn ranges(rules: &Rules) -> Vec<(u32, &Verdict)> {
    let mut ranges = vec![(0, &rules.otherwise)];
    let mut add = |start: u32, verdict| {
        let last = ranges.last_mut().expect("there is a first range");
        if last.0 == start {
            last.1 = verdict;
        } else if last.1 != verdict {
            ranges.push((start, verdict));
        }
    };
    let mut expected = 0;
    for (number, verdict) in &rules.calls {
        if *number > expected {
            add(expected, &rules.otherwise);
        }
        add(*number, verdict);
        expected = number + 1;
    }
    add(expected, &rules.otherwise);
    ranges
}

fn tree(ranges: &[(u32, &Verdict)]) -> Vec<sock_filter> {
    let [(_, verdict)] = ranges else {
        let (low, high) = ranges.split_at(ranges.len() / 2);
        let (low, start) = (tree(low), high[0].0);
        let mut code = match u8::try_from(low.len()) {
            Ok(far) => vec![branch(IF_AT_LEAST, start, far, 0)],
            Err(_) => vec![branch(IF_AT_LEAST, start, 0, 1), instruction(JUMP, low.len() as u32)],
        };
        code.extend(low);
        code.extend(tree(high));
        return code;
    };
    leaf(verdict)
}

fn fail(errno: i32) -> sock_filter {
    instruction(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn leaf(verdict: &Verdict) -> Vec<sock_filter> {
    let allow = instruction(RETURN, libc::SECCOMP_RET_ALLOW);
    match verdict {
        Verdict::Allow => vec![allow],
        Verdict::Fail(errno) => vec![fail(*errno)],
        Verdict::Unless(alternatives) => {
            let mut code = Vec::new();
            for tests in alternatives {
                code.extend(all_hold(tests, allow));
            }
            code.push(fail(libc::EPERM));
            code
        }
        Verdict::FailIf(test) => {
            let mut code = all_hold(&[*test], fail(libc::EPERM));
            code.push(allow);
            code
        }
    }
}

/// Ends with `then` if all tests hold; else goes on behind it.
fn all_hold(tests: &[Test], then: sock_filter) -> Vec<sock_filter> {
    let mut code = vec![then];
    for test in tests.iter().rev() {
        // Behind `then` is where a test that does not hold goes.
        let away = u8::try_from(code.len()).expect("a rule has a few tests");
        let (jt, jf) = if test.equal { (0, away) } else { (away, 0) };
        code.insert(0, branch(IF_EQUAL, test.value, jt, jf));
        if test.mask != u32::MAX {
            code.insert(0, instruction(AND, test.mask));
        }
        code.insert(0, instruction(LOAD, ARGUMENTS + 8 * test.argument));
    }
    code
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the kernel would answer: the filter machine, as far as our programs use it.
    fn run(program: &[sock_filter], number: u32, architecture: u32, arguments: [u32; 6]) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { step.jt } else { step.jf });
            match step.code {
                LOAD => {
                    accumulator = match step.k {
                        NUMBER => number,
                        ARCHITECTURE => architecture,
                        offset => arguments[(offset - ARGUMENTS) as usize / 8],
                    }
                }
                AND => accumulator &= step.k,
                IF_EQUAL => at += jump(accumulator == step.k),
                IF_AT_LEAST => at += jump(accumulator >= step.k),
                JUMP => at += step.k as usize,
                RETURN => return step.k,
                code => panic!("instruction {code} is not ours"),
            }
        }
    }

    fn verdict() -> impl Strategy<Value = Verdict> {
        let test = (0_u32..6, prop_oneof![Just(u32::MAX), any::<u32>()], 0_u32..4, any::<bool>());
        let test = test.prop_map(|(argument, mask, value, equal)| Test {
            argument,
            mask,
            value: value & mask,
            equal,
        });
        let tests = prop::collection::vec(prop::collection::vec(test.clone(), 1..4), 1..4);
        prop_oneof![
            Just(Verdict::Allow),
            Just(Verdict::Fail(libc::ENOSYS)),
            tests.prop_map(Verdict::Unless),
            test.prop_map(Verdict::FailIf),
        ]
    }

    fn expected(verdict: &Verdict, arguments: [u32; 6]) -> u32 {
        let holds = |test: &Test| {
            (arguments[test.argument as usize] & test.mask == test.value) == test.equal
        };
        let fail = |errno: i32| libc::SECCOMP_RET_ERRNO | errno as u32;
        match verdict {
            Verdict::Allow => libc::SECCOMP_RET_ALLOW,
            Verdict::Fail(errno) => fail(*errno),
            Verdict::Unless(alternatives) if alternatives.iter().any(|a| a.iter().all(holds)) => {
                libc::SECCOMP_RET_ALLOW
            }
            Verdict::FailIf(test) if !holds(test) => libc::SECCOMP_RET_ALLOW,
            Verdict::Unless(_) | Verdict::FailIf(_) => fail(libc::EPERM),
        }
    }

    proptest! {
        #[test]
        fn a_program_answers_as_its_rules_say(
            calls in prop::collection::btree_map(0_u32..600, verdict(), 0..300),
            arguments in prop::array::uniform6(0_u32..4),
            numbers in prop::collection::vec(prop_oneof![0_u32..600, any::<u32>()], 50),
        ) {
            let rules = Rules { calls, otherwise: Verdict::Fail(libc::EPERM) };
            let program = assemble(&rules, 7).unwrap();
            for number in numbers {
                let verdict = rules.calls.get(&number).unwrap_or(&rules.otherwise);
                prop_assert_eq!(run(&program, number, 7, arguments), expected(verdict, arguments));
            }
            prop_assert_eq!(run(&program, 0, 8, arguments), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
