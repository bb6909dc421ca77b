//! Resource-based policies: who may do what with a function, as its owner wrote it down.
//!
//! Pure: a policy and a question give an answer. [`document`] is the policy's JSON and its grammar,
//! [`condition`] and [`pattern`] are what statements are made of, [`evaluate`] is the question. What
//! cannot be known of a request (a key that nobody tells us, a statement of a later version) is taken
//! the way that lets nobody in: it never allows, and where it would deny, it denies.
//!
//! Which policies count: that of the function, and that of the version or alias that is asked for. The
//! `Resource` of a statement decides whether it is about what is asked for, so a function's own policy
//! reaches its versions and aliases only where its owner wrote a wildcard.

pub mod condition;
pub mod document;
pub mod evaluate;
pub mod pattern;
pub mod statement;

pub use document::Document;
pub use evaluate::{Asked, Caller, Verdict};

use crate::names::LATEST;
use crate::state::function::FunctionRecord;
use evaluate::{Facts, Target};

/// What the policies of a function, and of the version or alias asked for, say to this question.
pub fn decide(record: &FunctionRecord, qualifier: Option<&str>, asked: &Asked<'_>) -> Verdict {
    let of = |qualifier: &str| record.qualified.get(qualifier)?.policy.as_ref();
    let function = of(LATEST);
    let qualified = qualifier.filter(|name| *name != LATEST).and_then(of);
    if function.is_none() && qualified.is_none() {
        return Verdict::Nothing;
    }
    let verdict = |resource: &str| {
        let target = Target {
            resource,
            account: &record.account,
            region: &record.region,
            tags: &record.tags,
        };
        let facts = Facts::new(asked, &target);
        let verdicts = [function, qualified].into_iter().flatten();
        verdicts.map(|policy| policy.verdict(&facts)).max().unwrap_or(Verdict::Nothing)
    };
    let whole = record.arn();
    match qualifier {
        // `$LATEST` is the function by another name: what denies the function denies it.
        Some(LATEST) if verdict(&whole) == Verdict::Deny => Verdict::Deny,
        Some(qualifier) => verdict(&format!("{whole}:{qualifier}")),
        None => verdict(&whole),
    }
}

/// Whether the function's policies allow it and none denies it.
pub fn allows(record: &FunctionRecord, qualifier: Option<&str>, asked: &Asked<'_>) -> bool {
    decide(record, qualifier, asked) == Verdict::Allow
}

/// Whether a caller may use the URL of a function or of its alias. `asked` tells who it is, with any
/// action; `auth_type` is the URL's, `NONE` or `AWS_IAM`.
///
/// AWS asks for two permissions: `lambda:InvokeFunctionUrl`, and since October 2025
/// `lambda:InvokeFunction` too. Principals of the function's own account have both unless one is
/// denied; all others need statements that allow them.
pub fn url_lets_in(
    record: &FunctionRecord,
    qualifier: Option<&str>,
    auth_type: &str,
    asked: &Asked<'_>,
) -> bool {
    let is_own = auth_type == "AWS_IAM" && asked.caller().account() == Some(&record.account);
    let url_keys =
        [("lambda:FunctionUrlAuthType", auth_type), ("lambda:InvokedViaFunctionUrl", "true")];
    ["lambda:InvokeFunctionUrl", "lambda:InvokeFunction"].into_iter().all(|action| {
        let asked = asked.of_action(action);
        let asked = url_keys.iter().fold(asked, |asked, (key, value)| asked.with(key, *value));
        match decide(record, qualifier, &asked) {
            Verdict::Allow => true,
            Verdict::Nothing => is_own,
            Verdict::Deny => false,
        }
    })
}

#[cfg(test)]
mod tests;
