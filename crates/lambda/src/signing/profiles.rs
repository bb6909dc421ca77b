//! Signing profile versions that the server knows: files `*.pem` in the folder `signing-profiles` of its
//! data directory, one for each.
//!
//! ```text
//! Signing-Profile-Version: arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij
//! Revoked-From: 2026-11-28T14:00:00Z
//! Revoked-Job: arn:aws:signer:us-east-1:000000000000:/signing-jobs/0f8e8ba0-0c1d-4f7f-9f0e-1f4d1c3c5a77
//! -----BEGIN PUBLIC KEY-----
//! MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
//! -----END PUBLIC KEY-----
//! ```
//!
//! `Revoked-From` takes away what was signed then and later, each `Revoked-Job` one signature; both may
//! be absent. They are read anew for every deployment that needs them, so a change holds at once. A file
//! that cannot be understood is no profile, rather than one whose revocations are overlooked.

use std::collections::HashMap;
use std::path::Path;

use lambic_wire::Timestamp;

use super::comment::Statement;
use super::key::VerifyingKey;

/// Its folder in the data directory.
pub const FOLDER: &str = "signing-profiles";
/// Longest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Files that are read.
const FILES_MAX: usize = 1_000;

/// All of them.
#[derive(Debug, Default)]
pub struct Profiles(
    /// By ARN; `None` where two files say that they are the same one.
    HashMap<String, Option<Profile>>,
);

/// One signing profile version.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) key: VerifyingKey,
    revoked_from: Option<Timestamp>,
    revoked_jobs: Vec<String>,
}

impl Profiles {
    /// Those in this folder; none if there is no such folder. What cannot be read is logged.
    pub fn load(folder: &Path) -> Profiles {
        let mut profiles = Profiles::default();
        let mut files: Vec<_> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => {
                tracing::error!(%error, folder = %folder.display(), "signing profiles cannot be read");
                Vec::new()
            }
        };
        files.retain(|path| path.extension().is_some_and(|extension| extension == "pem"));
        files.sort();
        if files.len() > FILES_MAX {
            tracing::error!("more than {FILES_MAX} signing profiles; the others are not read");
            files.truncate(FILES_MAX);
        }
        for path in files {
            let read = read(&path).map_err(|error| error.to_string());
            let added = read.and_then(|text| profiles.add(&text));
            if let Err(why) = added {
                tracing::error!(file = %path.display(), why, "a signing profile is left out");
            }
        }
        profiles
    }

    #[cfg(test)]
    pub(super) fn of(texts: &[&str]) -> Profiles {
        let mut profiles = Profiles::default();
        texts.iter().try_for_each(|text| profiles.add(text)).unwrap();
        profiles
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let (arn, profile) = parse(text)?;
        // Which of two would be right nobody can say, so neither is.
        if self.0.contains_key(&arn) {
            self.0.insert(arn.clone(), None);
            return Err(format!("{arn} is there twice"));
        }
        self.0.insert(arn, Some(profile));
        Ok(())
    }

    pub(super) fn get(&self, arn: &str) -> Option<&Profile> {
        self.0.get(arn)?.as_ref()
    }
}

impl Profile {
    pub(super) fn is_revoked(&self, statement: &Statement) -> bool {
        self.revoked_from.is_some_and(|from| statement.signed_at >= from)
            || self.revoked_jobs.contains(&statement.job_arn)
    }
}

/// A profile's file, with nothing revoked.
pub fn written(profile_version_arn: &str, key: &VerifyingKey) -> String {
    format!("Signing-Profile-Version: {profile_version_arn}\n{}", key.to_pem())
}

fn read(path: &Path) -> std::io::Result<String> {
    if std::fs::metadata(path)?.len() > FILE_BYTES_MAX {
        return Err(std::io::Error::other("it is too long"));
    }
    std::fs::read_to_string(path)
}

fn parse(text: &str) -> Result<(String, Profile), String> {
    let at = text.find("-----BEGIN").ok_or("it has no key")?;
    let (head, key) = text.split_at(at);
    let key = VerifyingKey::from_pem(key).ok_or("its key is no public Ed25519 key")?;
    let mut arn = None;
    let (mut revoked_from, mut revoked_jobs) = (None, Vec::new());
    for line in head.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_once(": ") {
            Some(("Signing-Profile-Version", value)) if arn.is_none() => {
                arn = Some(value.to_owned());
            }
            Some(("Revoked-From", value)) if revoked_from.is_none() => {
                let moment = Timestamp::from_text(value);
                revoked_from = Some(moment.ok_or_else(|| format!("'{value}' is no moment"))?);
            }
            Some(("Revoked-Job", value)) => revoked_jobs.push(value.to_owned()),
            _ => return Err(format!("'{line}' is not understood")),
        }
    }
    let arn = arn.ok_or("it does not name its signing profile version")?;
    Ok((arn, Profile { key, revoked_from, revoked_jobs }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::key::SigningKey;
    use crate::signing::tests::ARN;

    fn file() -> String {
        written(ARN, &SigningKey::from_seed(&[7; 32]).public())
    }

    #[test]
    fn what_cannot_be_understood_is_no_profile() {
        assert!(parse(&file()).is_ok());
        let cases = [
            ("Signing-Profile-Version: ", "Profile: ", "is not understood"),
            (
                "Signing-Profile-Version: ",
                "Revoked-From: yesterday\nSigning-Profile-Version: ",
                "no moment",
            ),
            (
                "Signing-Profile-Version: ",
                "Revoked: now\nSigning-Profile-Version: ",
                "not understood",
            ),
            ("PUBLIC", "PRIVATE", "no public Ed25519 key"),
            ("-----BEGIN", "BEGIN", "has no key"),
        ];
        for (old, new, why) in cases {
            let error = parse(&file().replacen(old, new, 1)).err().unwrap();
            assert!(error.contains(why), "{error}");
        }
        let unnamed = file().lines().skip(1).collect::<Vec<_>>().join("\n");
        assert!(parse(&unnamed).err().unwrap().contains("does not name"));
    }

    #[test]
    fn a_folder_is_read_as_far_as_it_is_good() {
        let temp = tempfile::tempdir().unwrap();
        assert!(Profiles::load(&temp.path().join("none")).0.is_empty());
        let write = |name: &str, text: &str| std::fs::write(temp.path().join(name), text).unwrap();
        write("good.pem", &file());
        write("bad.pem", "nonsense");
        write("notes.txt", &file());
        assert!(Profiles::load(temp.path()).get(ARN).is_some());
        for name in ["same.pem", "third.pem"] {
            write(name, &file());
            assert!(Profiles::load(temp.path()).get(ARN).is_none(), "which one counts?");
        }
    }
}
