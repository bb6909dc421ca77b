//! Who may ask: access keys, their secrets and whom they stand for.
//!
//! The table holds configured users and the session credentials of execution environments alike.
//! It is sharded so that environments that come and go do not hold up requests in flight.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, RwLock};

use lambic_rt::Timestamp;
use lambic_wire::sigv4::{Claim, Credentials, SigningKey};

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
    secret_access_key: String,
    pub(crate) session_token: Option<String>,
    pub(crate) expires: Option<Timestamp>,
    pub(crate) principal: Arc<Principal>,
    /// Keys derived from the secret, newest last. They live and die with the entry, so that a
    /// replaced secret leaves none behind.
    signing_keys: Mutex<Vec<Arc<SigningKey>>>,
}

/// Derived keys kept per access key: a few regions and services, today's and yesterday's.
const SIGNING_KEYS_MAX: usize = 8;

impl Entry {
    /// The key for a claim's scope, and whether it was kept from before.
    pub(crate) fn signing_key(&self, claim: &Claim) -> (Arc<SigningKey>, bool) {
        let scope = claim.scope();
        let kept = self.signing_keys.lock().expect(NO_PANIC);
        if let Some(key) = kept.iter().find(|key| key.scope() == scope) {
            return (key.clone(), true);
        }
        drop(kept);
        let secret = &self.secret_access_key;
        let key = SigningKey::derive(secret, &claim.date, &claim.region, &claim.service);
        (Arc::new(key), false)
    }

    /// Keeps a key that has verified a request, so that strangers cannot fill the place.
    pub(crate) fn keep(&self, key: Arc<SigningKey>) {
        let mut kept = self.signing_keys.lock().expect(NO_PANIC);
        if kept.iter().any(|have| have.scope() == key.scope()) {
            return;
        }
        if kept.len() >= SIGNING_KEYS_MAX {
            kept.remove(0);
        }
        kept.push(key);
    }
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
            signing_keys: Mutex::default(),
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

const NO_PANIC: &str = "nothing panics while a shard or a list of keys is held";

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
    fn few_signing_keys_are_kept() {
        let table = CredentialTable::new();
        table.insert(credentials("A"), Principal::root("111111111111"));
        let entry = table.entry("A").unwrap();
        let mut claim = Claim {
            access_key_id: "A".to_owned(),
            timestamp: "20260101T000000Z".to_owned(),
            date: "20260101".to_owned(),
            region: String::new(),
            service: "fake".to_owned(),
            signed_headers: Vec::new(),
            signature: String::new(),
            session_token: None,
            kind: lambic_wire::sigv4::Kind::Header,
        };
        for number in 0..20 {
            claim.region = format!("region-{number}");
            let (key, kept) = entry.signing_key(&claim);
            assert!(!kept);
            entry.keep(key.clone());
            entry.keep(key);
            assert!(entry.signing_key(&claim).1);
        }
        assert_eq!(entry.signing_keys.lock().unwrap().len(), SIGNING_KEYS_MAX);
        claim.region = "region-0".to_owned();
        assert!(!entry.signing_key(&claim).1);
    }

    #[test]
    fn debug_tells_no_secret() {
        let table = CredentialTable::new();
        table.insert(credentials("A"), Principal::root("111111111111"));
        assert!(!format!("{table:?}").contains("hidden"));
    }
}
