//! A signature as it stands in a package: the comment at the end of the zip, lines of text.
//!
//! ```text
//! Lambic-Signature: 1
//! Signing-Profile-Version: arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij
//! Signing-Job: arn:aws:signer:us-east-1:000000000000:/signing-jobs/0f8e8ba0-0c1d-4f7f-9f0e-1f4d1c3c5a77
//! Signed-At: 2026-11-28T14:00:00.000Z
//! Expires-At: 2027-11-28T14:00:00.000Z
//! Content-SHA256: 64 hexadecimal digits
//! Signature: base64 of 64 bytes
//! ```
//!
//! All lines are there, in this order, but for `Expires-At` of a signature that does not expire; each
//! ends with a newline. `Signature` is Ed25519 (RFC 8032) over all lines before it. `Content-SHA256` is of
//! the zip before it had a comment: all of its bytes up to the comment, with a comment length of zero,
//! which is the last two of them. There is one way only to write a signature; every other is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambic_wire::Timestamp;
use sha2::{Digest, Sha256};

/// Of the end record of a zip, in bytes, without its comment.
const END_BYTES: usize = 22;
const END_SIGNATURE: &[u8] = b"PK\x05\x06";
/// Longest ARN, in bytes.
const ARN_BYTES_MAX: usize = 2_048;

const FIRST_LINE: &str = "Lambic-Signature: 1\n";
/// What begins so is meant to be a signature, of whatever version.
const MEANT: &[u8] = b"Lambic-Signature:";

/// A zip, split where its comment begins.
pub(super) struct Parts<'a> {
    /// All before the length of the comment.
    content: &'a [u8],
    pub(super) comment: &'a [u8],
}

/// `None`: it does not end as a zip does.
pub(super) fn split(zip: &[u8]) -> Option<Parts<'_>> {
    let last = zip.len().checked_sub(END_BYTES)?;
    let first = last.saturating_sub(usize::from(u16::MAX));
    let at = (first..=last).rev().find(|at| {
        let length = u16::from_le_bytes([zip[at + 20], zip[at + 21]]);
        zip[*at..].starts_with(END_SIGNATURE) && at + END_BYTES + usize::from(length) == zip.len()
    })?;
    Some(Parts { content: &zip[..at + 20], comment: &zip[at + END_BYTES..] })
}

impl Parts<'_> {
    /// Of the zip without a comment, in hexadecimal digits.
    pub(super) fn content_sha256(&self) -> String {
        let digest = Sha256::new().chain_update(self.content).chain_update([0, 0]).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The same zip with another comment, which must be shorter than 64 KB.
    pub(super) fn with_comment(&self, comment: &[u8]) -> Vec<u8> {
        let length = u16::try_from(comment.len()).expect("signatures are short");
        [self.content, &length.to_le_bytes(), comment].concat()
    }
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) profile_version_arn: String,
    pub(super) job_arn: String,
    pub(super) signed_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) content_sha256: String,
}

impl Statement {
    /// The lines that are signed.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "{FIRST_LINE}Signing-Profile-Version: {}\nSigning-Job: {}\nSigned-At: {}\n",
            self.profile_version_arn,
            self.job_arn,
            self.signed_at.to_iso_text()
        );
        if let Some(end) = self.expires_at {
            text.push_str(&format!("Expires-At: {}\n", end.to_iso_text()));
        }
        text.push_str(&format!("Content-SHA256: {}\n", self.content_sha256));
        text
    }
}

/// The whole comment.
pub(super) fn written(statement: &Statement, signature: &[u8; 64]) -> String {
    format!("{}Signature: {}\n", statement.text(), STANDARD.encode(signature))
}

/// Whether a comment is meant to be a signature.
pub(super) fn is_meant(comment: &[u8]) -> bool {
    comment.starts_with(MEANT)
}

/// A comment's statement and signature, if it is exactly what [`written`] writes.
pub(super) fn parse(comment: &[u8]) -> Option<(Statement, [u8; 64])> {
    let text = std::str::from_utf8(comment).ok()?;
    let mut lines = text.strip_prefix(FIRST_LINE)?.split_inclusive('\n').peekable();
    let mut take = |name: &str| {
        let line = lines.next_if(|line| line.starts_with(name))?;
        line[name.len()..].strip_prefix(": ")?.strip_suffix('\n')
    };
    let statement = Statement {
        profile_version_arn: arn(take("Signing-Profile-Version")?)?,
        job_arn: arn(take("Signing-Job")?)?,
        signed_at: Timestamp::from_text(take("Signed-At")?)?,
        expires_at: take("Expires-At")
            .map(|text| Timestamp::from_text(text).ok_or(()))
            .transpose()
            .ok()?,
        content_sha256: take("Content-SHA256")?.to_owned(),
    };
    let signature = STANDARD.decode(take("Signature")?).ok()?;
    let signature = <[u8; 64]>::try_from(signature).ok()?;
    // Times and base64 can be written in several ways; one of them is the signature's.
    (written(&statement, &signature) == text).then_some((statement, signature))
}

fn arn(text: &str) -> Option<String> {
    let is_one = text.starts_with("arn:")
        && text.len() <= ARN_BYTES_MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic());
    is_one.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing::tests::{ARN, JOB, at};

    #[test]
    fn there_is_one_way_to_write_a_signature() {
        let mut statement = Statement {
            profile_version_arn: ARN.to_owned(),
            job_arn: JOB.to_owned(),
            signed_at: at(1_795_874_400),
            expires_at: Some(at(1_827_410_400)),
            content_sha256: "0".repeat(64),
        };
        let text = written(&statement, &[7; 64]);
        assert_eq!(parse(text.as_bytes()), Some((statement.clone(), [7; 64])));
        let changes = [
            ("Signed-At: 2026-11-28T14:00:00.000Z", "Signed-At: 2026-11-28T14:00:00Z"),
            ("Signed-At: 2026-11-28T14:00:00.000Z", "Signed-At: 2026-11-28T15:00:00.000+01:00"),
            ("Lambic-Signature: 1", "Lambic-Signature: 2"),
            ("Signing-Job: ", "Signing-Job:  "),
            ("Signing-Job: arn", "Signing-Job: \u{e4}rn"),
            ("Signature: ", "Signature: \n"),
            ("BwcHBw==\n", "BwcHBx==\n"),
            ("BwcHBw==\n", "BwcHBw\n"),
            ("BwcHBw==\n", "BwcHBw==\n\n"),
            ("BwcHBw==\n", "BwcHBw=="),
            ("BwcHBw==\n", "BwcHBw==\r\n"),
        ];
        for (old, new) in changes {
            let changed = text.replacen(old, new, 1);
            assert_ne!(changed, text, "{old}");
            assert_eq!(parse(changed.as_bytes()), None, "{changed}");
        }
        statement.expires_at = None;
        let text = written(&statement, &[7; 64]);
        assert_eq!(parse(text.as_bytes()), Some((statement, [7; 64])));
        assert!(!text.contains("Expires-At"));
    }
}
