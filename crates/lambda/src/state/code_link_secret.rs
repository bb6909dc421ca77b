//! The secret that signs links to code packages: `code-link-secret/only`.
//!
//! Stored, so that a link outlives a restart and is good on every node that shares the store.
//! Invariant: 32 random bytes, written once.

use std::fmt;

use lambic_rt::Rt;
use lambic_store::{CommitError, Record, Store, Transaction};
use serde::{Deserialize, Serialize};

const KEY: [&str; 1] = ["only"];

/// The stored record.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeLinkSecret {
    /// The secret.
    pub bytes: [u8; 32],
}

impl fmt::Debug for CodeLinkSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("CodeLinkSecret(<redacted>)")
    }
}

impl Record for CodeLinkSecret {
    const KIND: &'static str = "code-link-secret";
    const VERSION: u32 = 1;

    fn upgrade(version: u32, _: serde_json::Value) -> Result<CodeLinkSecret, String> {
        Err(format!("there never was a version {version}"))
    }
}

impl CodeLinkSecret {
    /// The stored secret; the first caller ever makes it.
    ///
    /// # Errors
    /// The store's, in words.
    pub async fn load(store: &Store, rt: &Rt) -> Result<CodeLinkSecret, String> {
        let table = store.table::<CodeLinkSecret>();
        // Another node may be making it at the same moment; then theirs is read the second time.
        for _ in 0..2 {
            if let Some(stored) = table.get(&KEY).await.map_err(|error| error.to_string())? {
                return Ok(stored.value);
            }
            let mut secret = CodeLinkSecret { bytes: [0; 32] };
            rt.fill_random(&mut secret.bytes);
            let mut transaction = Transaction::new();
            transaction.insert(&KEY, &secret);
            match store.commit(transaction).await {
                Ok(_) => return Ok(secret),
                Err(CommitError::Conflict { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the secret for code links was removed while it was being made".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn made_once() {
        let rt = Rt::real();
        let store = Store::in_memory(rt.clone()).unwrap();
        let first = CodeLinkSecret::load(&store, &rt).await.unwrap();
        assert_eq!(CodeLinkSecret::load(&store, &rt).await.unwrap(), first);
        assert!(first.bytes.iter().any(|byte| *byte != 0));
    }
}
