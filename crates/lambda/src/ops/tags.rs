//! What the three operations on tags share: which kinds of resource have tags, and where those are.
//!
//! A further kind of resource is one more arm of [`tags`]; one with a record of its own needs no more than
//! to say where that record has them ([`of_record`]).

use lambic_front::Cx;
use lambic_model_lambda::errors;
use lambic_store::{Record, Transaction};
use lambic_wire::{Arn, Error, Pairs};

use super::change::{edit, read_failed, write};
use super::code_signing::ATTEMPTS_MAX;
use super::{code_signing, find, mapping, settings};
use crate::Lambda;
use crate::limits::{TAGS_MAX, invalid, too_many_changes, too_many_tags};
use crate::names;
use crate::state::code_signing::CodeSigningRecord;
use crate::state::mapping::{MappingChange, MappingRecord};

/// What is to become of the tags of a resource.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Add these, in the place of those with the same keys.
    Put(Pairs<String>),
    /// Take away those with these keys.
    Remove(Vec<String>),
}

impl Change {
    /// Tags to be added, checked.
    ///
    /// # Errors
    /// AWS's for none at all, for too many, and for keys that only AWS may use.
    pub(super) fn put(tags: Pairs<String>) -> Result<Change, Error> {
        if tags.is_empty() {
            return Err(invalid("An error occurred and the request cannot be processed."));
        }
        Ok(Change::Put(settings::tags(tags)?))
    }

    /// # Errors
    /// When they become too many.
    pub(super) fn apply(&self, to: &mut Pairs<String>) -> Result<(), Error> {
        match self {
            Change::Put(tags) => {
                for (key, value) in tags {
                    match to.0.iter_mut().find(|(known, _)| known == key) {
                        Some((_, old)) => old.clone_from(value),
                        None => to.0.push((key.clone(), value.clone())),
                    }
                }
                if to.len() > TAGS_MAX {
                    return Err(too_many_tags());
                }
            }
            Change::Remove(keys) => to.0.retain(|(key, _)| !keys.contains(key)),
        }
        Ok(())
    }
}

/// The tags of a resource, after `change` if there is one.
pub(super) async fn tags(
    cx: &Cx<'_, Lambda>,
    arn: &str,
    change: Option<&Change>,
) -> Result<Pairs<String>, Error> {
    let resource = parse(cx, arn).resource;
    match resource.split(':').next().unwrap_or_default() {
        "function" => of_function(cx, arn, change).await,
        "code-signing-config" => {
            let has: Has<CodeSigningRecord> = |record| Some(&mut record.tags);
            of_record(cx, arn, change, has, code_signing::not_found).await
        }
        "event-source-mapping" => {
            let has: Has<MappingRecord> =
                |record| (record.change != MappingChange::Deleted).then_some(&mut record.tags);
            of_record(cx, arn, change, has, mapping::not_found).await
        }
        "capacity-provider" => {
            Err(errors::resource_not_found(format!("Capacity provider not found: {arn}")))
        }
        _ => Err(invalid(format!("Tags on this resource are not supported: {arn}"))),
    }
}

/// The resource for authorization.
pub(super) fn parse(cx: &Cx<'_, Lambda>, arn: &str) -> Arn {
    // The model's pattern lets only ARNs through.
    arn.parse().unwrap_or_else(|_| Arn::new("lambda", cx.region, cx.account, arn))
}

/// Tags belong to a function, not to one of its versions. A change counts as one of `$LATEST`, as on AWS.
async fn of_function(
    cx: &Cx<'_, Lambda>,
    arn: &str,
    change: Option<&Change>,
) -> Result<Pairs<String>, Error> {
    let target = names::resolve(cx.account, cx.region, arn, None)?;
    if target.qualifier.is_some() {
        return Err(invalid(
            "Tags on function aliases and versions are not supported. Please specify a function \
             ARN.",
        ));
    }
    let Some(change) = change else {
        return Ok(find(cx, &target)?.stored.value.tags.clone());
    };
    let changed = edit(cx, &target, |record| {
        record.revision_id = cx.rt.uuid();
        change.apply(&mut record.tags)
    });
    Ok(changed.await?.0.tags)
}

/// The tags of a record; `None` if the resource counts as deleted.
type Has<R> = fn(&mut R) -> Option<&mut Pairs<String>>;

/// The tags of a resource whose record has the key `<account>/<region>/<id>`, the id being the last part
/// of its ARN.
async fn of_record<R: Record>(
    cx: &Cx<'_, Lambda>,
    arn: &str,
    change: Option<&Change>,
    has: Has<R>,
    not_found: fn(&str) -> Error,
) -> Result<Pairs<String>, Error> {
    let Arn { account, region, resource, .. } = parse(cx, arn);
    if region != cx.region {
        return Err(not_found(arn));
    }
    let id = resource.rsplit(':').next().unwrap_or_default();
    for _ in 0..ATTEMPTS_MAX {
        let table = cx.service.store.table::<R>();
        let stored = table.get(&[&account, &region, id]).await.map_err(read_failed)?;
        let stored = stored.ok_or_else(|| not_found(arn))?;
        let mut next = stored.value.clone();
        let tags = has(&mut next).ok_or_else(|| not_found(arn))?;
        let Some(change) = change else { return Ok(tags.clone()) };
        change.apply(tags)?;
        let changed = tags.clone();
        let mut transaction = Transaction::new();
        transaction.replace(&stored, &next);
        if write(cx, transaction).await?.is_some() {
            return Ok(changed);
        }
    }
    Err(too_many_changes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(keys: impl IntoIterator<Item = String>) -> Pairs<String> {
        keys.into_iter().map(|key| (key, "v".to_owned())).collect()
    }

    #[test]
    fn fifty_are_the_most_there_can_be() {
        let mut have = pairs((0..40).map(|number| format!("a{number}")));
        let ten = Change::put(pairs((0..10).map(|number| format!("b{number}")))).unwrap();
        assert_eq!((ten.apply(&mut have), have.len()), (Ok(()), 50));
        assert_eq!(ten.apply(&mut have), Ok(()), "the same keys again");
        let one = Change::put(pairs(["c".to_owned()])).unwrap();
        assert_eq!(one.apply(&mut have).unwrap_err().message, too_many_tags().message);
        assert!(Change::put(pairs((0..51).map(|number| format!("c{number}")))).is_err());
    }

    #[test]
    fn order_and_values() {
        let mut have = pairs(["a", "b", "c"].map(str::to_owned));
        let put = Pairs(vec![("b".into(), "2".into()), ("d".into(), "4".into())]);
        Change::put(put).unwrap().apply(&mut have).unwrap();
        Change::Remove(vec!["a".into(), "never there".into()]).apply(&mut have).unwrap();
        let expected = [("b", "2"), ("c", "v"), ("d", "4")];
        assert_eq!(
            have,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect()
        );
    }
}
