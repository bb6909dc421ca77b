//! Which function a URL's id belongs to. The catalog keeps it in step with the functions' records.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::names::{LATEST, Target};
use crate::state::function::FunctionRecord;

/// All URLs, by id.
#[derive(Default)]
pub(crate) struct UrlIndex {
    targets: RwLock<HashMap<String, Target>>,
}

impl UrlIndex {
    /// A function has changed from `old` to `new`; either may not be there.
    pub(crate) fn follow(&self, old: Option<&FunctionRecord>, new: Option<&FunctionRecord>) {
        let of = |record: Option<&FunctionRecord>| record.map(urls).unwrap_or_default();
        let (old, new) = (of(old), of(new));
        // Most changes are of something else.
        if old == new {
            return;
        }
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        for (id, _) in old {
            targets.remove(&id);
        }
        targets.extend(new);
    }

    /// What the URL of this id runs. No qualifier is `$LATEST`.
    pub(crate) fn find(&self, id: &str) -> Option<Target> {
        self.targets.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }
}

fn urls(record: &FunctionRecord) -> Vec<(String, Target)> {
    let with_url = record.qualified.iter().filter_map(|(qualifier, settings)| {
        let target = Target {
            account: record.account.clone(),
            region: record.region.clone(),
            name: record.name.clone(),
            qualifier: (qualifier != LATEST).then(|| qualifier.clone()),
        };
        Some((settings.url.as_ref()?.id.clone(), target))
    });
    with_url.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::function::tests::record;
    use crate::state::function_url::{FunctionUrl, UrlAuth};
    use crate::state::qualified::Qualified;

    fn with(urls: &[(&str, &str)]) -> FunctionRecord {
        let mut record = record("f");
        for (qualifier, id) in urls {
            let url = FunctionUrl {
                id: (*id).to_owned(),
                auth: UrlAuth::None,
                cors: None,
                invoke_mode: None,
                created_micros: 0,
                last_modified_micros: 0,
            };
            let settings = Qualified { url: Some(url), ..Qualified::default() };
            record.qualified.insert((*qualifier).to_owned(), settings);
        }
        record
    }

    #[test]
    fn it_follows() {
        let index = UrlIndex::default();
        let arn = |id: &str| index.find(id).map(|target| target.qualified_arn());
        let one = with(&[("$LATEST", "a"), ("live", "b")]);
        index.follow(None, Some(&one));
        let plain = "arn:aws:lambda:us-east-1:000000000000:function:f".to_owned();
        assert_eq!((arn("a"), arn("b")), (Some(plain.clone()), Some(format!("{plain}:live"))));
        let two = with(&[("$LATEST", "c"), ("live", "b")]);
        index.follow(Some(&one), Some(&two));
        assert_eq!((arn("a"), arn("b").is_some(), arn("c").is_some()), (None, true, true));
        index.follow(Some(&two), None);
        assert_eq!((arn("b"), arn("c")), (None, None));
    }
}
