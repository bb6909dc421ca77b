//! Keys of the operator's that stand for AWS KMS's: what functions name by ARN is a file here.
//!
//! A key file holds 32 bytes, as they are or in base64. It is read whenever it is needed and never kept,
//! so what happens to it holds at once: a file that is moved away is a key that does not exist, one whose
//! name got `.disabled` at its end is a disabled key, and one that the server may not read is a key that
//! it may not use. A key serves the functions of its ARN's account and region only.
//!
//! This is encryption at rest and no more: whoever may read the key files and the data directory can read
//! everything. Keys are not made, rotated or shown here.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_rt::Rt;

use crate::state::sealed::Sealed;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
/// More than any form of a key has.
const FILE_BYTES_MAX: u64 = 1_024;
const DISABLED: &str = "disabled";

/// The keys of the configuration. Prints as the ARNs and paths, which are no secrets.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    files: BTreeMap<String, PathBuf>,
}

/// Why a key cannot be used, as KMS tells it apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// There is none of this ARN, or not for this function. The text is KMS's.
    NotFound(String),
    /// Its file was set aside.
    Disabled(String),
    /// Its file cannot be read, or is for another account.
    AccessDenied(String),
    /// Its file holds something else than it did, or no key at all.
    InvalidState(String),
}

impl KeyFault {
    /// The name and the text of KMS's exception.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            KeyFault::NotFound(text) => ("NotFoundException", text),
            KeyFault::Disabled(text) => ("DisabledException", text),
            KeyFault::AccessDenied(text) => ("AccessDeniedException", text),
            KeyFault::InvalidState(text) => ("KMSInvalidStateException", text),
        }
    }
}

/// Whose text it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// Twelve digits.
    pub account: &'a str,
    /// Such as `us-east-1`.
    pub region: &'a str,
    /// The function's ARN, without a qualifier: it is authenticated with the text.
    pub function_arn: &'a str,
}

impl Keys {
    /// Key files by the ARN of a key or an alias.
    pub fn new(files: BTreeMap<String, PathBuf>) -> Keys {
        Keys { files }
    }

    /// Tells what is wrong with the files, for the log at start.
    pub fn problems(&self) -> Vec<String> {
        let problem = |(arn, file): (&String, &PathBuf)| {
            let fault = read(arn, file).err()?;
            let (name, text) = fault.parts();
            Some(format!("{arn}: {name}: {text} ({})", file.display()))
        };
        self.files.iter().filter_map(problem).collect()
    }

    /// Whether this key may be used for what belongs to `owner`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, arn: &str, owner: Owner<'_>) -> Result<(), KeyFault> {
        self.cipher(arn, owner).map(drop)
    }

    /// Encrypts `text`.
    ///
    /// # Errors
    /// When the key cannot be used.
    pub fn seal(
        &self,
        rt: &Rt,
        arn: &str,
        owner: Owner<'_>,
        text: &[u8],
    ) -> Result<Sealed, KeyFault> {
        let outer = self.cipher(arn, owner)?;
        let mut data_key = [0_u8; KEY_BYTES];
        rt.fill_random(&mut data_key);
        let inner = Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&data_key));
        let close = |cipher: &Aes256Gcm, text: &[u8]| encrypt(rt, cipher, text, owner.function_arn);
        Ok(Sealed { data_key: close(&outer, &data_key), text: close(&inner, text) })
    }

    /// Decrypts what [`Keys::seal`] made for the same key and owner.
    ///
    /// # Errors
    /// When the key cannot be used, or is not the one that it was.
    pub fn open(&self, arn: &str, owner: Owner<'_>, sealed: &Sealed) -> Result<Vec<u8>, KeyFault> {
        let outer = self.cipher(arn, owner)?;
        let open = || {
            let data_key = decrypt(&outer, &sealed.data_key, owner.function_arn)?;
            let inner = Aes256Gcm::new_from_slice(&data_key).ok()?;
            decrypt(&inner, &sealed.text, owner.function_arn)
        };
        open().ok_or_else(|| invalid(arn))
    }

    fn cipher(&self, arn: &str, owner: Owner<'_>) -> Result<Aes256Gcm, KeyFault> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, _, "kms", region, account, name] = parts[..] else {
            return Err(KeyFault::NotFound(format!("Invalid arn {arn}")));
        };
        if region != owner.region {
            return Err(KeyFault::NotFound(format!("Invalid arn {region}")));
        }
        // Before it is looked up: which keys another account has is not to be told.
        if account != owner.account {
            let text = "The ciphertext refers to a customer master key that does not exist, does \
                        not exist in this region, or you are not allowed to access.";
            return Err(KeyFault::AccessDenied(text.to_owned()));
        }
        let file = self.files.get(arn).ok_or_else(|| not_found(arn, name))?;
        let key = read(arn, file)?;
        Ok(Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&key)))
    }
}

/// KMS words it by what was named.
fn not_found(arn: &str, name: &str) -> KeyFault {
    KeyFault::NotFound(match name.starts_with("alias/") {
        true => format!("Alias {arn} is not found."),
        false => format!("Key '{arn}' does not exist"),
    })
}

fn invalid(arn: &str) -> KeyFault {
    KeyFault::InvalidState(format!("{arn} is not valid for Decrypt."))
}

fn read(arn: &str, file: &Path) -> Result<[u8; KEY_BYTES], KeyFault> {
    let held = std::fs::metadata(file).and_then(|found| {
        let fits = found.is_file() && found.len() <= FILE_BYTES_MAX;
        if fits { std::fs::read(file) } else { Ok(Vec::new()) }
    });
    match held {
        Ok(held) => key_of(&held).ok_or_else(|| invalid(arn)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut aside = file.as_os_str().to_owned();
            aside.push(".");
            aside.push(DISABLED);
            match Path::new(&aside).try_exists() {
                Ok(true) => Err(KeyFault::Disabled(format!("{arn} is disabled."))),
                _ => Err(not_found(arn, arn.splitn(6, ':').last().unwrap_or_default())),
            }
        }
        Err(error) => {
            tracing::warn!(key = arn, %error, "a key file cannot be read");
            Err(KeyFault::AccessDenied(
                "The key file of this key cannot be read by the server.".to_owned(),
            ))
        }
    }
}

/// 32 bytes, or their base64.
fn key_of(held: &[u8]) -> Option<[u8; KEY_BYTES]> {
    if let Ok(key) = held.try_into() {
        return Some(key);
    }
    STANDARD.decode(held.trim_ascii()).ok()?.try_into().ok()
}

fn encrypt(rt: &Rt, cipher: &Aes256Gcm, text: &[u8], aad: &str) -> String {
    let mut nonce = [0_u8; NONCE_BYTES];
    rt.fill_random(&mut nonce);
    let payload = Payload { msg: text, aad: aad.as_bytes() };
    let closed = cipher
        .encrypt(Nonce::from_slice(&nonce), payload)
        .expect("only texts of 64 GB cannot be encrypted");
    STANDARD.encode([&nonce[..], &closed].concat())
}

fn decrypt(cipher: &Aes256Gcm, closed: &str, aad: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(closed).ok()?;
    let (nonce, closed) = bytes.split_at_checked(NONCE_BYTES)?;
    let payload = Payload { msg: closed, aad: aad.as_bytes() };
    cipher.decrypt(Nonce::from_slice(nonce), payload).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:000000000000:key/a";
    const ALIAS: &str = "arn:aws:kms:us-east-1:000000000000:alias/b";
    const OWNER: Owner<'static> =
        Owner { account: "000000000000", region: "us-east-1", function_arn: "arn:f" };

    fn keys(folder: &Path) -> Keys {
        fs::write(folder.join("a"), [7; 32]).unwrap();
        fs::write(folder.join("b"), STANDARD.encode([7; 32]) + "\n").unwrap();
        let files = [(ARN, "a"), (ALIAS, "b")];
        Keys::new(files.map(|(arn, file)| (arn.to_owned(), folder.join(file))).into())
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, rt) = (keys(folder.path()), Rt::real());
        let sealed = keys.seal(&rt, ARN, OWNER, b"secret").unwrap();
        assert_eq!(keys.open(ARN, OWNER, &sealed).unwrap(), b"secret");
        // Both files hold the same key.
        assert_eq!(keys.open(ALIAS, OWNER, &sealed).unwrap(), b"secret");
        let twice = keys.seal(&rt, ARN, OWNER, b"secret").unwrap();
        assert!(twice.text != sealed.text && twice.data_key != sealed.data_key);
        let stored = serde_json::to_string(&sealed).unwrap();
        assert!(!stored.contains("secret") && !stored.contains(&STANDARD.encode("secret")));

        let other = Owner { function_arn: "arn:g", ..OWNER };
        assert_eq!(keys.open(ARN, other, &sealed), Err(invalid(ARN)));
        for change in [
            |it: &mut Sealed| it.text.replace_range(20..21, "!"),
            |it: &mut Sealed| it.data_key = it.text.clone(),
            |it: &mut Sealed| it.text.truncate(8),
        ] {
            let mut changed = sealed.clone();
            change(&mut changed);
            assert_eq!(keys.open(ARN, OWNER, &changed), Err(invalid(ARN)));
        }
    }

    #[test]
    fn what_happens_to_the_file_happens_to_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, rt) = (keys(folder.path()), Rt::real());
        let (file, aside) = (folder.path().join("a"), folder.path().join("a.disabled"));
        let sealed = keys.seal(&rt, ARN, OWNER, b"secret").unwrap();
        let fault = || {
            let fault = keys.open(ARN, OWNER, &sealed).unwrap_err();
            assert_eq!(
                keys.problems().len(),
                usize::from(!file.exists() || fs::read(&file).unwrap().len() != 32)
            );
            format!("{}: {}", fault.parts().0, fault.parts().1)
        };
        fs::rename(&file, &aside).unwrap();
        assert_eq!(fault(), format!("DisabledException: {ARN} is disabled."));
        fs::remove_file(&aside).unwrap();
        assert_eq!(fault(), format!("NotFoundException: Key '{ARN}' does not exist"));
        fs::write(&file, [7; 31]).unwrap();
        assert_eq!(fault(), format!("KMSInvalidStateException: {ARN} is not valid for Decrypt."));
        fs::write(&file, [8; 32]).unwrap();
        assert_eq!(fault(), format!("KMSInvalidStateException: {ARN} is not valid for Decrypt."));
        fs::write(&file, [7; 32]).unwrap();
        assert_eq!(keys.open(ARN, OWNER, &sealed).unwrap(), b"secret");
        // A folder that is a file now can be read by nobody.
        let keys = Keys::new([(ARN.to_owned(), file.join("below"))].into());
        assert_eq!(keys.check(ARN, OWNER).unwrap_err().parts().0, "AccessDeniedException");
    }

    #[test]
    fn a_key_is_found_by_its_whole_arn_for_its_own_account_and_region() {
        let folder = tempfile::tempdir().unwrap();
        let keys = keys(folder.path());
        let fault = |arn: &str, owner| {
            let fault = keys.check(arn, owner).unwrap_err();
            format!("{}: {}", fault.parts().0, fault.parts().1)
        };
        assert_eq!(keys.check(ALIAS, OWNER), Ok(()));
        let (key, alias) = (ARN.replace("/a", "/z"), ALIAS.replace("/b", "/z"));
        assert_eq!(fault(&key, OWNER), format!("NotFoundException: Key '{key}' does not exist"));
        assert_eq!(fault(&alias, OWNER), format!("NotFoundException: Alias {alias} is not found."));
        assert_eq!(fault("arn:aws:s3:::x", OWNER), "NotFoundException: Invalid arn arn:aws:s3:::x");
        let elsewhere = Owner { region: "eu-west-1", ..OWNER };
        assert_eq!(fault(ARN, elsewhere), "NotFoundException: Invalid arn us-east-1");
        let stranger = Owner { account: "111122223333", ..OWNER };
        assert!(fault(ARN, stranger).starts_with("AccessDeniedException: "));
    }
}
