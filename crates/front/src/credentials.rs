//! Who may ask: access keys, their secrets and whom they stand for.
//!
//! The table holds configured users and the session credentials of execution environments alike.
//! It is sharded so that environments that come and go do not hold up requests in flight.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, RwLock};

use lambic_rt::Timestamp;
use lambic_wire::sigv4::Credentials;

/// Whom a request acts for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// 12 digits.
    pub account: String,
    /// For example `arn:aws:iam::000000000000:root`,
    /// `arn:aws:sts::000000000000:assumed-role/role/function`.
    pub arn: String,
    /// Not bound by policies within its account: the account's root and configured administrators.
    /// It never reaches into another account.
    pub admin: bool,
}

impl Principal {
    /// The root of an account, which may do everything in it.
    pub fn root(account: &str) -> Principal {
        Principal {
            account: account.to_owned(),
            arn: format!("arn:aws:iam::{account}:root"),
            admin: true,
        }
    }

    /// A function's session in its role; `session` is the function's name.
    pub fn role_session(account: &str, role: &str, session: &str) -> Principal {
        Principal {
            account: account.to_owned(),
            arn: format!("arn:aws:sts::{account}:assumed-role/{role}/{session}"),
            admin: false,
        }
    }
}

/// One access key.
pub(crate) struct Entry {
    pub(crate) secret_access_key: String,
    pub(crate) session_token: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) principal: Arc<Principal>,
}

type Shard = RwLock<HashMap<String, Arc<Entry>>>;

const SHARDS: usize = 16;

/// All access keys that are known. Share it in an `Arc`.
pub struct CredentialTable {
    shards: [Shard; SHARDS],
    hasher: RandomState,
}

impl CredentialTable {
    /// An empty table.
    pub fn new() -> CredentialTable {
        CredentialTable { shards: Default::default(), hasher: RandomState::new() }
    }

    /// Adds a key that does not expire, or replaces the key of the same id.
    pub fn insert(&self, credentials: Credentials, principal: Principal) {
        self.put(credentials, principal, None);
    }

    /// Adds a session's key, which is refused from the moment `expires` on.
    pub fn insert_session(
        &self,
        credentials: Credentials,
        principal: Principal,
        expires: Timestamp,
    ) {
        self.put(credentials, principal, Some(expires));
    }

    fn put(&self, credentials: Credentials, principal: Principal, expires: Option<Timestamp>) {
        let entry = Entry {
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expires,
            principal: Arc::new(principal),
        };
        let mut shard = self.shard(&credentials.access_key_id).write().expect(NO_PANIC);
        shard.insert(credentials.access_key_id, Arc::new(entry));
    }

    /// Forgets a key; nothing happens when it is not there.
    pub fn remove(&self, access_key_id: &str) {
        self.shard(access_key_id).write().expect(NO_PANIC).remove(access_key_id);
    }

    /// Whom a key stands for. This says nothing about a request: only its signature does.
    pub fn lookup(&self, access_key_id: &str) -> Option<Arc<Principal>> {
        self.entry(access_key_id).map(|entry| entry.principal.clone())
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().expect(NO_PANIC).len()).sum()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn entry(&self, access_key_id: &str) -> Option<Arc<Entry>> {
        self.shard(access_key_id).read().expect(NO_PANIC).get(access_key_id).cloned()
    }

    fn shard(&self, access_key_id: &str) -> &Shard {
        &self.shards[self.hasher.hash_one(access_key_id) as usize % SHARDS]
    }
}

const NO_PANIC: &str = "nothing panics while a shard is held";

impl Default for CredentialTable {
    fn default() -> CredentialTable {
        CredentialTable::new()
    }
}

impl fmt::Debug for CredentialTable {
    /// Tells the number of keys and never a secret.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("CredentialTable").field("keys", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(id: &str) -> Credentials {
        Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: "hidden-secret".to_owned(),
            session_token: Some("hidden-token".to_owned()),
        }
    }

    #[test]
    fn keys_come_and_go() {
        let table = CredentialTable::new();
        for number in 0..100 {
            table.insert(credentials(&format!("AKIA{number}")), Principal::root("111111111111"));
        }
        assert_eq!(table.len(), 100);
        assert_eq!(table.lookup("AKIA7").unwrap().account, "111111111111");
        table.remove("AKIA7");
        table.remove("AKIA7");
        assert_eq!(table.lookup("AKIA7"), None);
        assert_eq!(table.len(), 99);
    }

    #[test]
    fn a_key_of_the_same_id_is_replaced() {
        let table = CredentialTable::new();
        table.insert(credentials("A"), Principal::root("111111111111"));
        table.insert(credentials("A"), Principal::root("222222222222"));
        assert_eq!(table.lookup("A").unwrap().account, "222222222222");
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn debug_tells_no_secret() {
        let table = CredentialTable::new();
        table.insert(credentials("A"), Principal::root("111111111111"));
        assert!(!format!("{table:?}").contains("hidden"));
    }
}
