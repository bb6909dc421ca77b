//! Reading, changing and writing one function, again if somebody else was faster.

use lambic_front::Cx;
use lambic_model_lambda::errors;
use lambic_rt::Timestamp;
use lambic_store::{CommitError, Revision, StoreError, Stored, Transaction};
use lambic_wire::Error;

use super::publish::{publish, unchanged};
use crate::Lambda;
use crate::names::Target;
use crate::state::code_signing::CodeSigningRecord;
use crate::state::function::{Configuration, FunctionRecord, State, UpdateStatus};
use crate::state::published::{VersionRecord, number_key};

/// Attempts before a caller is told to try again.
const ATTEMPTS_MAX: usize = 8;
/// The same for changes that do not exclude each other, as many callers make them at once.
pub(super) const EDIT_ATTEMPTS_MAX: usize = 64;

/// Under which conditions an update is committed, and what it brings along.
#[derive(Clone, Copy, Default)]
pub(crate) struct By<'a> {
    /// Of the function as the caller has seen it.
    pub(crate) revision_id: Option<&'a str>,
    /// Whether a version is made of it too.
    pub(crate) publishes: bool,
    /// Under which the package was admitted; it has to be the same still.
    pub(crate) config: Option<&'a Stored<CodeSigningRecord>>,
}

/// Acknowledges an update of `target`: `next` makes the new configuration from the present one; if
/// it publishes, a version is made of it too. Answers the record as it was committed.
///
/// # Errors
/// 404, 409 while something else is in progress, 412 for another `revision_id`, and `next`'s own.
pub(crate) async fn update(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    by: By<'_>,
    next: impl Fn(&FunctionRecord) -> Result<Configuration, Error>,
) -> Result<(FunctionRecord, Option<VersionRecord>), Error> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(cx, target).await?;
        check(&stored.value, by.revision_id)?;
        let mut configuration = next(&stored.value)?;
        configuration.last_modified_micros = cx.rt.now().micros();
        let mut record = stored.value.updated(configuration.clone(), cx.rt, settle_at(cx));
        let mut transaction = Transaction::new();
        if let Some(config) = by.config {
            transaction.expect_unchanged(config);
        }
        let version = match by.publishes {
            true => Some(match unchanged(cx, &record, &configuration).await? {
                Some(version) => version,
                None => {
                    let at = settle_at(cx);
                    publish(cx, &mut record, &mut transaction, &configuration, None, at)
                }
            }),
            false => None,
        };
        transaction.replace(&stored, &record);
        if commit(cx, transaction).await?.is_some() {
            return Ok((record, version));
        }
    }
    Err(in_progress(target))
}

/// Changes what is beside `$LATEST` in the record of `target`'s function: aliases, settings by
/// qualifier. `change` is called again when somebody else was faster. Answers the record as it was
/// committed and what `change` answered.
///
/// # Errors
/// 404, 409 when others are always faster, and `change`'s own.
pub(crate) async fn edit<T>(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    change: impl Fn(&mut FunctionRecord) -> Result<T, Error>,
) -> Result<(FunctionRecord, T), Error> {
    for _ in 0..EDIT_ATTEMPTS_MAX {
        let stored = read(cx, target).await?;
        let mut record = stored.value.clone();
        let answer = change(&mut record)?;
        record.qualified.retain(|_, settings| !settings.is_empty());
        if record == stored.value {
            return Ok((record, answer));
        }
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &record);
        if commit(cx, transaction).await?.is_some() {
            return Ok((record, answer));
        }
    }
    Err(in_progress(target))
}

/// The published version of that number, if there is one.
pub(crate) async fn read_version(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    number: u64,
) -> Result<Option<VersionRecord>, Error> {
    let key = number_key(number);
    let key = [record.account.as_str(), &record.region, &record.name, &key];
    let table = cx.service.store.table::<VersionRecord>();
    let stored = table.get(&key).await.map_err(read_failed)?;
    Ok(stored.map(|stored| stored.value))
}

/// The function as the store has it, not the catalog: a change begins from what is newest.
pub(crate) async fn read(
    cx: &Cx<'_, Lambda>,
    target: &Target,
) -> Result<Stored<FunctionRecord>, Error> {
    let table = cx.service.store.table::<FunctionRecord>();
    let stored = table.get(&[&target.account, &target.region, &target.name]).await;
    stored
        .map_err(read_failed)?
        .ok_or_else(|| Target { qualifier: None, ..target.clone() }.not_found())
}

/// Whether a change may begin.
pub(crate) fn check(record: &FunctionRecord, revision_id: Option<&str>) -> Result<(), Error> {
    check_revision(revision_id, &record.revision_id)?;
    if record.state == State::Pending {
        return Err(errors::resource_conflict(pending("Pending")));
    }
    if record.update == UpdateStatus::InProgress {
        return Err(errors::resource_conflict(update_in_progress(&record.arn())));
    }
    Ok(())
}

/// Whether what is there is what the caller has seen.
pub(crate) fn check_revision(wanted: Option<&str>, present: &str) -> Result<(), Error> {
    if wanted.is_some_and(|wanted| wanted != present) {
        return Err(errors::precondition_failed(
            "The Revision Id provided does not match the latest Revision Id. Call the \
             GetFunction/GetAlias API to retrieve the latest Revision Id",
        ));
    }
    Ok(())
}

/// Commits and waits until the catalog knows. `None`: somebody else was faster.
///
/// # Errors
/// ServiceException when the store fails.
pub(crate) async fn commit(
    cx: &Cx<'_, Lambda>,
    transaction: Transaction,
) -> Result<Option<Revision>, Error> {
    let committed = write(cx, transaction).await?;
    if let Some(revision) = committed {
        cx.service.catalog.caught_up(revision).await;
    }
    Ok(committed)
}

/// Commits what the catalog does not hold. `None`: somebody else was faster.
///
/// # Errors
/// ServiceException when the store fails.
pub(crate) async fn write(
    cx: &Cx<'_, Lambda>,
    transaction: Transaction,
) -> Result<Option<Revision>, Error> {
    match cx.service.store.commit(transaction).await {
        Ok(revision) => Ok(Some(revision)),
        Err(CommitError::Conflict { .. }) => Ok(None),
        Err(error) => {
            tracing::error!(%error, "a write was not stored");
            Err(Error::internal(match error {
                CommitError::Full(_) => "The server's disk is full.",
                _ => "The change could not be stored.",
            }))
        }
    }
}

/// The day, as ISO 8601 has it.
pub(crate) fn today(cx: &Cx<'_, Lambda>) -> String {
    let now = cx.rt.now().rfc3339();
    now.split('T').next().unwrap_or_default().to_owned()
}

/// When the reconciler makes a change that is acknowledged now come into force.
pub(crate) fn settle_at(cx: &Cx<'_, Lambda>) -> Timestamp {
    cx.rt.now().after(cx.service.config.settle_after)
}

/// The text for an operation that the function's state does not allow.
pub(crate) fn pending(state: &str) -> String {
    format!(
        "The operation cannot be performed at this time. The function is currently in the \
         following state: {state}"
    )
}

/// 409 for a caller that lost every race.
pub(crate) fn in_progress(target: &Target) -> Error {
    errors::resource_conflict(update_in_progress(&target.arn()))
}

fn update_in_progress(arn: &str) -> String {
    format!(
        "The operation cannot be performed at this time. An update is in progress for resource: \
         {arn}"
    )
}

pub(crate) fn read_failed(error: StoreError) -> Error {
    tracing::error!(%error, "a record could not be read");
    Error::internal("What is stored could not be read.")
}
