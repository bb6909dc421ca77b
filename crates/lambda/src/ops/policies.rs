//! What the operations on policies have in common: whose policy is meant, its revision, and how it is
//! changed.
//!
//! A policy has no revision of its own: as on AWS its `RevisionId` is that of the function, version or
//! alias that it is for, and changes with every change of the policy.

use lambic_front::Cx;
use lambic_model_lambda::errors;
use lambic_store::Transaction;
use lambic_wire::Error;

use super::alias::cannot_find;
use super::change::{EDIT_ATTEMPTS_MAX, commit, in_progress, read, read_version};
use crate::Lambda;
use crate::limits::{
    POLICIES_BYTES_MAX, POLICY_BYTES_MAX, invalid, policies_too_large, policy_too_large,
};
use crate::names::{self, LATEST, Target, not_found};
use crate::policy::Document;
use crate::state::function::FunctionRecord;
use crate::state::published::{VersionRecord, number_key};

/// Which function, version or alias a request names; `$LATEST` has no policy of its own.
pub(super) fn target(
    cx: &Cx<'_, Lambda>,
    name: &str,
    qualifier: Option<&str>,
) -> Result<Target, Error> {
    names::resolve(cx.account, cx.region, name, qualifier)
}

/// The same for operations that give a policy.
pub(super) fn changeable(
    cx: &Cx<'_, Lambda>,
    name: &str,
    qualifier: Option<&str>,
) -> Result<Target, Error> {
    let target = target(cx, name, qualifier)?;
    if target.qualifier.as_deref() == Some(LATEST) {
        return Err(invalid("We currently do not support adding policies for $LATEST."));
    }
    Ok(target)
}

/// The policy of what is named, if it has one.
pub(super) fn policy<'a>(record: &'a FunctionRecord, target: &Target) -> Option<&'a Document> {
    match target.qualifier.as_deref() {
        Some(LATEST) => None,
        qualifier => record.qualified.get(qualifier.unwrap_or(LATEST))?.policy.as_ref(),
    }
}

/// 404 when the function has no such version or alias.
pub(super) fn check_qualifier(record: &FunctionRecord, target: &Target) -> Result<(), Error> {
    let Some(qualifier) = target.qualifier.as_deref() else { return Ok(()) };
    if record.has(qualifier) {
        return Ok(());
    }
    let name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_alias = qualifier.bytes().all(name) && !qualifier.bytes().all(|b| b.is_ascii_digit());
    Err(match is_alias {
        true => cannot_find(target, qualifier),
        false => target.not_found(),
    })
}

/// The revision of what is named.
pub(super) async fn revision_id(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    target: &Target,
) -> Result<String, Error> {
    let Some(qualifier) = target.qualifier.as_deref() else {
        return Ok(record.revision_id.clone());
    };
    if let Some(alias) = record.aliases.get(qualifier) {
        return Ok(alias.revision_id.clone());
    }
    let version = version(cx, record, qualifier).await?;
    Ok(version.map_or_else(|| record.revision_id.clone(), |version| version.revision_id))
}

async fn version(
    cx: &Cx<'_, Lambda>,
    record: &FunctionRecord,
    qualifier: &str,
) -> Result<Option<VersionRecord>, Error> {
    match record.number(qualifier) {
        Some(number) => read_version(cx, record, number).await,
        None => Ok(None),
    }
}

/// How a caller is told to learn the revision.
#[derive(Clone, Copy, Debug)]
pub(super) enum Api {
    /// Statement by statement.
    Statements,
    /// As one document.
    Document,
}

/// What a change begins with.
pub(super) struct Present<'a> {
    pub(super) policy: Option<&'a Document>,
    revision_id: &'a str,
    api: Api,
}

impl Present<'_> {
    /// Whether this is the policy that the caller has seen.
    pub(super) fn check_revision(&self, wanted: Option<&str>) -> Result<(), Error> {
        if wanted.is_none_or(|wanted| wanted == self.revision_id) {
            return Ok(());
        }
        let operation = match self.api {
            Api::Statements => "GetPolicy",
            Api::Document => "GetResourcePolicy",
        };
        Err(errors::precondition_failed(format!(
            "The Revision Id provided does not match the latest Revision Id. Call the {operation} \
             API to retrieve the latest Revision Id"
        )))
    }
}

/// Makes another policy of the present one; `next` is called again when somebody else was faster.
/// Answers the new revision.
///
/// # Errors
/// 404, 409 when others are always faster, and `next`'s own.
pub(super) async fn change(
    cx: &Cx<'_, Lambda>,
    target: &Target,
    api: Api,
    next: impl Fn(&Present<'_>) -> Result<Option<Document>, Error>,
) -> Result<String, Error> {
    for _ in 0..EDIT_ATTEMPTS_MAX {
        let stored = read(cx, target).await?;
        check_qualifier(&stored.value, target)?;
        let revision_id = revision_id(cx, &stored.value, target).await?;
        let policy = policy(&stored.value, target);
        let present = Present { policy, revision_id: &revision_id, api };
        let policy = next(&present)?;
        let mut record = stored.value.clone();
        let mut transaction = Transaction::new();
        let revision_id = cx.rt.uuid();
        set_revision(cx, &mut record, target, &revision_id, &mut transaction).await?;
        let key = target.qualifier.as_deref().unwrap_or(LATEST);
        record.qualified.entry(key.to_owned()).or_default().policy = policy;
        record.qualified.retain(|_, settings| !settings.is_empty());
        check_sizes(&record, key)?;
        transaction.replace(&stored, &record);
        if commit(cx, transaction).await?.is_some() {
            return Ok(revision_id);
        }
    }
    Err(in_progress(target))
}

async fn set_revision(
    cx: &Cx<'_, Lambda>,
    record: &mut FunctionRecord,
    target: &Target,
    revision_id: &str,
    transaction: &mut Transaction,
) -> Result<(), Error> {
    let Some(qualifier) = target.qualifier.as_deref() else {
        revision_id.clone_into(&mut record.revision_id);
        return Ok(());
    };
    if let Some(alias) = record.aliases.get_mut(qualifier) {
        revision_id.clone_into(&mut alias.revision_id);
    } else if let Some(mut version) = version(cx, record, qualifier).await? {
        revision_id.clone_into(&mut version.revision_id);
        let number = number_key(version.number);
        // Nobody else has written it: that would have changed the function's record too.
        let key = [record.account.as_str(), &record.region, &record.name, &number];
        transaction.put(&key, &version);
    }
    Ok(())
}

fn check_sizes(record: &FunctionRecord, changed: &str) -> Result<(), Error> {
    let mut together = 0;
    for (qualifier, settings) in &record.qualified {
        let Some(policy) = &settings.policy else { continue };
        let bytes = policy.text().len();
        if qualifier == changed && bytes > POLICY_BYTES_MAX {
            return Err(policy_too_large(bytes));
        }
        together += bytes;
    }
    match together > POLICIES_BYTES_MAX {
        true => Err(policies_too_large(together)),
        false => Ok(()),
    }
}

/// 404 in the words of the operations that read a policy.
pub(super) fn no_policy() -> Error {
    not_found("The resource you requested does not exist.".to_owned())
}

/// 404 in the words of the operations that take something away.
pub(super) fn nothing_to_remove() -> Error {
    not_found("No policy is associated with the given resource.".to_owned())
}
