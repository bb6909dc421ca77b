//! `lambic sign` and `lambic signing-profile`: packages that code signing configurations accept, without
//! a server and without its data directory.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use lambic_lambda::signing::key::SigningKey;
use lambic_lambda::signing::profiles::written;
use lambic_lambda::signing::sign;
use lambic_rt::Rt;
use lambic_wire::{Arn, Timestamp};

use crate::cli::{SignArgs, SigningProfileArgs};
use crate::failure::{Failure, Kind};

const DAY_MS: i64 = 86_400_000;

/// Signs a zip and prints the ARN of the signing job, by which the signature can be revoked.
pub(crate) fn run(args: &SignArgs) -> Result<(), Failure> {
    let rt = Rt::real();
    let profile = profile_version(&args.profile_version)?;
    let key = SigningKey::from_pem(&read_text(&args.key)?)
        .ok_or_else(|| failure(&args.key, "it is no private Ed25519 key in a PEM file"))?;
    let zip = std::fs::read(&args.package).map_err(|error| failure(&args.package, error))?;
    let signed_at = Timestamp { epoch_ms: rt.now().millis() };
    let expires_at = args.valid_days.map(|days| Timestamp {
        epoch_ms: signed_at.epoch_ms.saturating_add(i64::from(days) * DAY_MS),
    });
    let job = format!(
        "arn:aws:signer:{}:{}:/signing-jobs/{}",
        profile.region,
        profile.account,
        rt.uuid()
    );
    let signed = sign(&zip, &key, &args.profile_version, &job, signed_at, expires_at)
        .map_err(|why| failure(&args.package, why))?;
    let output = args.output.as_ref().unwrap_or(&args.package);
    replace(output, &signed).map_err(|error| failure(output, error))?;
    println!("{job}");
    Ok(())
}

/// Prints the file by which a server knows a signing profile version. Makes the key if it is not there.
pub(crate) fn profile(args: &SigningProfileArgs) -> Result<(), Failure> {
    profile_version(&args.profile_version)?;
    let made = make_key(&args.key).map_err(|error| failure(&args.key, error))?;
    let key = match made {
        Some(key) => key,
        None => SigningKey::from_pem(&read_text(&args.key)?)
            .ok_or_else(|| failure(&args.key, "it is no private Ed25519 key in a PEM file"))?,
    };
    print!("{}", written(&args.profile_version, &key.public()));
    Ok(())
}

/// `None`: there is a file already.
fn make_key(path: &Path) -> std::io::Result<Option<SigningKey>> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut seed = [0; 32];
    Rt::real().fill_random(&mut seed);
    let key = SigningKey::from_seed(&seed);
    file.write_all(key.to_pem().as_bytes())?;
    file.sync_all()?;
    Ok(Some(key))
}

/// Writes a file that is there whole or not at all.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".signing");
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        // Half a package helps nobody; what matters to the caller is why it is half.
        drop(std::fs::remove_file(&beside));
    }
    written
}

/// The ARN, if it is one that a code signing configuration could name.
fn profile_version(text: &str) -> Result<Arn, Failure> {
    let wrong = || {
        Failure::new(
            Kind::Configuration,
            format!(
                "'{text}' is no signing profile version; write it as \
                 arn:aws:signer:us-east-1:000000000000:/signing-profiles/NAME/VERSION"
            ),
        )
    };
    let arn: Arn = text.parse().map_err(|_| wrong())?;
    let named =
        arn.resource.strip_prefix("/signing-profiles/").is_some_and(|name| !name.is_empty());
    let is_one =
        arn.service == "signer" && named && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(arn) } else { Err(wrong()) }
}

fn read_text(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| failure(path, error))
}

fn failure(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::new(Kind::Other, format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const ARN: &str = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/release/abcdefghij";

    #[test]
    fn a_key_is_made_once_and_for_its_owner() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("release.key");
        let first = make_key(&path).unwrap().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(make_key(&path).unwrap().is_none());
        let read = SigningKey::from_pem(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(read.public(), first.public());
    }

    #[test]
    fn which_arns_are_profile_versions() {
        assert!(profile_version(ARN).is_ok());
        let cases =
            ["release", "arn:aws:s3:::bucket", &ARN.replace("signing-profiles", "signing-jobs")];
        for bad in cases {
            assert_eq!(profile_version(bad).unwrap_err().kind, Kind::Configuration, "{bad}");
        }
    }
}
