//! Reading, changing and writing one function, again if somebody else was faster.

use std::collections::HashSet;

use lambic_front::Cx;
use lambic_model_lambda::errors;
use lambic_rt::Timestamp;
use lambic_store::{CommitError, Revision, StoreError, Stored, Transaction};
use lambic_wire::Error;

use crate::Lambda;
use crate::names::{LATEST, Target};
use crate::state::function::{Configuration, FunctionRecord, State, UpdateStatus};
use crate::state::published::{VersionRecord, number_key};

/// Attempts before a caller is told to try again.
const ATTEMPTS_MAX: usize = 8;
/// The same for changes that do not exclude each other, as many callers make them at once.
const EDIT_ATTEMPTS_MAX: usize = 64;

/// Acknowledges an update of `target`: `next` makes the new configuration from the present one.
/// Answers the record as it was committed.
///
/// # Errors
/// 404, 409 while something else is in progress, 412 for another `revision_id`, and `next`'s own.
pub(crate) async fn update(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    revision_id: Option<&str>,
    next: impl Fn(&FunctionRecord) -> Result<Configuration, Error>,
) -> Result<FunctionRecord, Error> {
    for _ in 0..ATTEMPTS_MAX {
        let stored = read(cx, target).await?;
        check(&stored.value, revision_id)?;
        let mut configuration = next(&stored.value)?;
        configuration.last_modified_micros = cx.rt.now().micros();
        let record = stored.value.updated(configuration, cx.rt, settle_at(cx));
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &record);
        if commit(cx, transaction).await?.is_some() {
            return Ok(record);
        }
    }
    Err(in_progress(target))
}

/// Changes what is beside `$LATEST` in the record of `target`'s function: aliases, settings by
/// qualifier. `change` is called again when somebody else was faster; it is told which of the
/// qualifiers `named` are published versions, and they still are when the change is committed.
/// Answers the record as it was committed and what `change` answered.
///
/// # Errors
/// 404, 409 when others are always faster, and `change`'s own.
#[allow(dead_code)] // until the first operation needs it
pub(crate) async fn edit<T>(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    named: &[&str],
    change: impl Fn(&mut FunctionRecord, &Known) -> Result<T, Error>,
) -> Result<(FunctionRecord, T), Error> {
    for _ in 0..EDIT_ATTEMPTS_MAX {
        let stored = read(cx, target).await?;
        let mut transaction = Transaction::new();
        let mut known = Known::default();
        for number in named {
            if let Some(version) = read_version(cx, target, number).await? {
                transaction.expect_unchanged(&version);
                known.versions.insert((*number).to_owned());
            }
        }
        let mut record = stored.value.clone();
        let answer = change(&mut record, &known)?;
        record.qualified.retain(|_, settings| !settings.is_empty());
        if record == stored.value {
            return Ok((record, answer));
        }
        transaction.replace(&stored, &record);
        if commit(cx, transaction).await?.is_some() {
            return Ok((record, answer));
        }
    }
    Err(in_progress(target))
}

/// The published versions among the qualifiers that a change names.
#[derive(Debug, Default)]
pub(crate) struct Known {
    versions: HashSet<String>,
}

impl Known {
    /// Whether this is `$LATEST`, an alias of the function or one of its published versions.
    pub(crate) fn has(&self, record: &FunctionRecord, qualifier: &str) -> bool {
        qualifier == LATEST
            || record.aliases.contains_key(qualifier)
            || self.versions.contains(qualifier)
    }

    /// Whether this is the number of a published version.
    pub(crate) fn has_version(&self, qualifier: &str) -> bool {
        self.versions.contains(qualifier)
    }
}

/// The published version of that number, if there is one.
pub(crate) async fn read_version(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    number: &str,
) -> Result<Option<Stored<VersionRecord>>, Error> {
    let Ok(number) = number.parse() else { return Ok(None) };
    let number = number_key(number);
    let key = [target.account.as_str(), &target.region, &target.name, &number];
    let table = cx.service.store.table::<VersionRecord>();
    table.get(&key).await.map_err(read_failed)
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
    if revision_id.is_some_and(|wanted| wanted != record.revision_id) {
        return Err(errors::precondition_failed(
            "The Revision Id provided does not match the latest Revision Id. Call the \
             GetFunction/GetAlias API to retrieve the latest Revision Id",
        ));
    }
    if record.state == State::Pending {
        return Err(errors::resource_conflict(pending("Pending")));
    }
    if record.update == UpdateStatus::InProgress {
        return Err(errors::resource_conflict(update_in_progress(&record.arn())));
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
