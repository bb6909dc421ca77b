//! Signed packages: who vouches for a zip, and whether it is still what was signed.
//!
//! AWS signs with AWS Signer, which is a service, with keys that nobody else has. Here a signing profile
//! version is a pair of Ed25519 keys: whoever may sign has the private one, and the server has the public
//! one in a file of its data directory ([`profiles`]). A profile version is named by an ARN of AWS
//! Signer, so code signing configurations say the same here as there. `lambic sign` signs.
//!
//! The signature is text, and it is the comment of the zip ([`comment`]). So it covers every byte before
//! it, whatever readers make of them, and needs no rules for names, order or compression. What AWS Signer
//! has signed is not verified: its file in the package is one like all others, and the package unsigned.
//!
//! [`verify`] says what a signature is worth at the moment: revocations and the end of its validity count
//! from when they are known, at the next deployment. What is deployed goes on running, as on AWS.

pub mod comment;
pub mod key;
pub mod profiles;

use lambic_wire::Timestamp;
use serde::{Deserialize, Serialize};

use comment::{Statement, split};
use key::SigningKey;
use profiles::Profiles;

/// Who has signed a package that is what it was when they did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    /// ARN of the signing profile version.
    pub profile_version_arn: String,
    /// ARN that names this one signing.
    pub job_arn: String,
}

/// Why a package is not vouched for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// Nobody has signed it.
    #[error("it is not signed")]
    Unsigned,
    /// It or its signature has been altered.
    #[error("{0}")]
    Broken(String),
    /// It is what was signed, and that does not count (any more).
    #[error("{0}")]
    Untrusted(String),
}

/// Whether a zip has something that is meant to be a signature.
pub fn is_signed(zip: &[u8]) -> bool {
    split(zip).is_some_and(|parts| comment::is_meant(parts.comment))
}

/// Who has signed `zip`, if that counts at `now`.
///
/// # Errors
/// Why it does not.
pub fn verify(zip: &[u8], profiles: &Profiles, now: Timestamp) -> Result<Signature, Distrust> {
    let parts = split(zip).filter(|parts| comment::is_meant(parts.comment));
    let parts = parts.ok_or(Distrust::Unsigned)?;
    let broken = |why: &str| Distrust::Broken(why.to_owned());
    let (statement, signature) =
        comment::parse(parts.comment).ok_or_else(|| broken("its signature is malformed"))?;
    if statement.content_sha256 != parts.content_sha256() {
        return Err(broken("it has been altered since it was signed"));
    }
    let arn = &statement.profile_version_arn;
    let profile = profiles
        .get(arn)
        .ok_or_else(|| Distrust::Untrusted(format!("there is no signing profile version {arn}")))?;
    if !profile.key.has_signed(statement.text().as_bytes(), &signature) {
        return Err(broken("its signature is not by the key of its signing profile version"));
    }
    if profile.is_revoked(&statement) {
        return Err(Distrust::Untrusted(format!("its signature by {arn} has been revoked")));
    }
    if statement.expires_at.is_some_and(|end| end <= now) {
        return Err(Distrust::Untrusted(format!("its signature by {arn} has expired")));
    }
    Ok(Signature { profile_version_arn: statement.profile_version_arn, job_arn: statement.job_arn })
}

/// The zip with a signature in the place of one that it may have.
///
/// # Errors
/// In words: what is no zip, a zip with a comment of another kind, ARNs that cannot stand in a signature.
pub fn sign(
    zip: &[u8],
    key: &SigningKey,
    profile_version_arn: &str,
    job_arn: &str,
    signed_at: Timestamp,
    expires_at: Option<Timestamp>,
) -> Result<Vec<u8>, String> {
    let parts = split(zip).ok_or("it does not end as a zip does")?;
    if !parts.comment.is_empty() && !comment::is_meant(parts.comment) {
        return Err("it has a comment, and the signature would take its place".to_owned());
    }
    let statement = Statement {
        profile_version_arn: profile_version_arn.to_owned(),
        job_arn: job_arn.to_owned(),
        signed_at,
        expires_at,
        content_sha256: parts.content_sha256(),
    };
    let signature = key.sign(statement.text().as_bytes());
    let text = comment::written(&statement, &signature);
    if comment::parse(text.as_bytes()).is_none() {
        return Err("an ARN is too long or has characters that no ARN has".to_owned());
    }
    Ok(parts.with_comment(text.as_bytes()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::code::testing::{Item, zip_of};

    pub(crate) const ARN: &str =
        "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij";
    pub(crate) const JOB: &str =
        "arn:aws:signer:us-east-1:000000000000:/signing-jobs/0f8e8ba0-0c1d-4f7f-9f0e-1f4d1c3c5a77";

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_epoch_s(seconds)
    }

    fn zip() -> Vec<u8> {
        zip_of(&[Item::file("main.py", b"def handler(event, context): return event")])
    }

    fn profiles(more: &str) -> Profiles {
        let key = SigningKey::from_seed(&[7; 32]);
        Profiles::of(&[&profiles::written(ARN, &key.public()).replacen(
            '\n',
            &format!("\n{more}"),
            1,
        )])
    }

    fn signed(expires_at: Option<Timestamp>) -> Vec<u8> {
        sign(&zip(), &SigningKey::from_seed(&[7; 32]), ARN, JOB, at(1_000), expires_at).unwrap()
    }

    #[test]
    fn what_was_signed_counts_until_it_expires_or_is_revoked() {
        let zip = signed(Some(at(2_000)));
        let good = Signature { profile_version_arn: ARN.to_owned(), job_arn: JOB.to_owned() };
        assert_eq!(verify(&zip, &profiles(""), at(1_999)), Ok(good.clone()));
        assert!(matches!(verify(&zip, &profiles(""), at(2_000)), Err(Distrust::Untrusted(_))));
        assert_eq!(verify(&signed(None), &profiles(""), at(i64::MAX / 2_000)), Ok(good.clone()));
        let not_yet = "Revoked-From: 1970-01-01T00:16:41Z\nRevoked-Job: arn:aws:signer:x\n";
        assert_eq!(verify(&zip, &profiles(not_yet), at(1_500)), Ok(good));
        for revoked in
            ["Revoked-From: 1970-01-01T00:16:40Z\n".to_owned(), format!("Revoked-Job: {JOB}\n")]
        {
            let got = verify(&zip, &profiles(&revoked), at(1_500));
            let Err(Distrust::Untrusted(why)) = got else { panic!("{revoked}: {got:?}") };
            assert!(why.ends_with("has been revoked"), "{why}");
        }
        let unknown = verify(&zip, &Profiles::default(), at(1_500));
        assert!(matches!(unknown, Err(Distrust::Untrusted(_))), "{unknown:?}");
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let zip = signed(Some(at(2_000)));
        let profiles = profiles("");
        for index in 0..zip.len() {
            for change in [1, 0x20, 0x80] {
                let mut altered = zip.clone();
                altered[index] ^= change;
                let got = verify(&altered, &profiles, at(1_500));
                assert!(got.is_err(), "byte {index} of {}", zip.len());
            }
        }
        for cut in [1, 10, 100] {
            assert_eq!(verify(&zip[..zip.len() - cut], &profiles, at(1)), Err(Distrust::Unsigned));
        }
        let longer = [&zip[..], b"x"].concat();
        assert_eq!(verify(&longer, &profiles, at(1)), Err(Distrust::Unsigned));
    }

    #[test]
    fn another_key_or_another_package_under_the_same_signature_is_broken() {
        let zip = signed(None);
        let other = SigningKey::from_seed(&[8; 32]);
        let of_other = Profiles::of(&[&profiles::written(ARN, &other.public())]);
        assert!(matches!(verify(&zip, &of_other, at(1)), Err(Distrust::Broken(_))));
        let text = split(&zip).unwrap().comment.to_vec();
        let evil = zip_of(&[Item::file("main.py", b"evil")]);
        let evil = split(&evil).unwrap().with_comment(&text);
        assert!(matches!(verify(&evil, &profiles(""), at(1)), Err(Distrust::Broken(_))));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_upset_it(before: Vec<u8>, comment: Vec<u8>, text in "(?s).{0,200}") {
            let profiles = profiles("");
            let meant = [b"Lambic-Signature: 1\n", text.as_bytes()].concat();
            for comment in [comment, meant] {
                let length = u16::try_from(comment.len()).unwrap().to_le_bytes();
                let end = [&before[..], b"PK\x05\x06", &[0; 16], &length, &comment].concat();
                for zip in [&before[..], &end] {
                    assert!(verify(zip, &profiles, at(1)).is_err());
                }
            }
        }
    }

    #[test]
    fn what_is_signed_and_what_is_not() {
        assert_eq!(verify(&zip(), &profiles(""), at(1)), Err(Distrust::Unsigned));
        assert_eq!(verify(b"no zip", &profiles(""), at(1)), Err(Distrust::Unsigned));
        assert!(is_signed(&signed(None)) && !is_signed(&zip()));
        let commented = split(&zip()).unwrap().with_comment(b"made by hand");
        assert_eq!(verify(&commented, &profiles(""), at(1)), Err(Distrust::Unsigned));
        let key = SigningKey::from_seed(&[7; 32]);
        let try_to = |zip: &[u8], arn: &str| sign(zip, &key, arn, JOB, at(1), None);
        assert!(try_to(&commented, ARN).unwrap_err().contains("comment"));
        assert!(try_to(b"no zip", ARN).unwrap_err().contains("zip"));
        for bad in ["", "arn:aws\nSigned-At: x", &"a".repeat(3_000)] {
            assert!(try_to(&zip(), bad).unwrap_err().contains("ARN"), "{bad}");
        }
        // Signed once more, it is as if it had been signed once.
        let again = sign(&signed(Some(at(9))), &key, ARN, JOB, at(1_000), None).unwrap();
        assert_eq!(again, signed(None));
        let malformed = split(&zip()).unwrap().with_comment(b"Lambic-Signature: 1\nx\n");
        assert!(matches!(verify(&malformed, &profiles(""), at(1)), Err(Distrust::Broken(_))));
    }
}
