//! The table `[kms.keys]`: which file is the key of which ARN.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::resolve::Origins;
use crate::failure::Failure;

const SETTING: &str = "kms.keys";
/// Of the data directory, for paths that are relative.
const FOLDER: &str = "keys";

pub(super) fn resolve(
    origins: &Origins<'_>,
    raw: BTreeMap<String, String>,
    data_dir: &Path,
) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut keys = BTreeMap::new();
    for (arn, file) in raw {
        if !is_key_arn(&arn) {
            let what = format!(
                "has \"{arn}\", which is no ARN of a key or an alias, such as \
                 arn:aws:kms:us-east-1:000000000000:alias/orders"
            );
            return Err(origins.refuse(SETTING, &what));
        }
        if file.is_empty() {
            return Err(origins.refuse(SETTING, &format!("gives {arn} no file")));
        }
        // An absolute path replaces what it is joined to.
        keys.insert(arn, data_dir.join(FOLDER).join(file));
    }
    Ok(keys)
}

fn is_key_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "kms", region, account, name] = parts[..] else { return false };
    let word = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    let named = name.strip_prefix("key/").or_else(|| name.strip_prefix("alias/"));
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_/".contains(&b);
    word(partition)
        && word(region)
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && named.is_some_and(|name| !name.is_empty() && name.bytes().all(fits))
}
