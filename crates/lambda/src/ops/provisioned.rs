//! What the operations on provisioned concurrency have in common: which qualifiers may have it, and
//! how far it is.

use lambic_front::Cx;
use lambic_model_lambda::ProvisionedConcurrencyStatusEnum as Status;
use lambic_rt::Timestamp;
use lambic_wire::Error;

use super::alias::cannot_find;
use super::change::read_failed;
use crate::Lambda;
use crate::catalog::Function;
use crate::limits::invalid;
use crate::names::{LATEST, Target};
use crate::state::function::FunctionRecord;
use crate::state::qualified::Provisioned;
use crate::tasks::provision::{by_version, shares};

/// A configuration as all operations show it.
pub(super) struct Shown {
    pub(super) requested: i32,
    pub(super) available: i32,
    pub(super) status: Status,
    pub(super) status_reason: Option<String>,
    pub(super) last_modified: String,
}

impl Shown {
    /// One that has just been set.
    pub(super) fn fresh(config: Provisioned) -> Shown {
        Shown {
            requested: config.requested as i32,
            available: 0,
            status: Status::InProgress,
            status_reason: None,
            last_modified: text(config.last_modified_micros),
        }
    }
}

/// AWS's form here is without fractions of a second.
fn text(micros: i64) -> String {
    let text = Timestamp::from_micros(micros).lambda_text();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}+0000"),
        None => text,
    }
}

/// How far the environments of this qualifier are.
pub(super) async fn shown(
    cx: &Cx<'_, Lambda>,
    function: &Function,
    qualifier: &str,
    config: Provisioned,
) -> Result<Shown, Error> {
    let mut shown = Shown::fresh(config);
    let (mut fails, mut all_there) = (false, true);
    let wanted = by_version(&function.stored.value);
    for (number, count) in shares(&function.stored.value, qualifier, config.requested) {
        let version = cx.service.catalog.published(function, number).await.map_err(read_failed)?;
        let Some(version) = version else { continue };
        let provision = cx.service.runner.provisioned(&version);
        // Others may want environments of this version too, and none of them is anybody's own.
        let of_version = wanted.iter().filter(|(other, _)| *other == number);
        all_there &= provision.available >= of_version.map(|(_, count)| count).sum();
        shown.available += provision.available.min(count) as i32;
        fails |= provision.fails;
    }
    if all_there && shown.available >= shown.requested {
        shown.status = Status::Ready;
    } else if fails {
        shown.status = Status::Failed;
        shown.status_reason = Some("FUNCTION_ERROR_INIT_FAILURE".to_owned());
    }
    Ok(shown)
}

/// Whether the function has the alias or the version that `target` names.
pub(super) fn check_qualifier(
    record: Option<&FunctionRecord>,
    target: &Target,
    qualifier: &str,
) -> Result<(), Error> {
    if record.is_some_and(|record| record.has(qualifier)) {
        return Ok(());
    }
    let is_number = qualifier.bytes().all(|byte| byte.is_ascii_digit());
    Err(match is_number {
        true => Target { qualifier: Some(qualifier.to_owned()), ..target.clone() }.not_found(),
        false => cannot_find(target, qualifier),
    })
}

/// The qualifier that a request names, which is none of `$LATEST`.
pub(super) fn qualifier(target: &Target) -> Result<&str, Error> {
    match target.qualifier.as_deref() {
        None | Some(LATEST) => {
            Err(invalid("The function resource provided must be an alias or a published version."))
        }
        Some(qualifier) => Ok(qualifier),
    }
}
