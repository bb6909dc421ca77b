//! The blocks `[[sandbox.file_system]]`: which folder of the machine is which access point.

use std::path::{Component, Path, PathBuf};

use lambic_sandbox::FileSystem;

use super::Isolation;
use super::raw::RawFileSystem;
use super::resolve::Origins;
use crate::failure::Failure;

const SETTING: &str = "sandbox.file_system";

pub(super) fn resolve(
    origins: &Origins<'_>,
    raw: Vec<RawFileSystem>,
    isolation: Isolation,
) -> Result<Vec<FileSystem>, Failure> {
    if !raw.is_empty() && isolation == Isolation::None {
        return Err(origins.refuse(SETTING, "cannot be kept with --isolation none"));
    }
    let mut file_systems: Vec<FileSystem> = Vec::new();
    for raw in raw {
        let arn = raw.arn.clone();
        let one =
            file_system(raw).map_err(|what| origins.refuse(SETTING, &format!("'{arn}' {what}")))?;
        if file_systems.iter().any(|other| other.name == arn) {
            return Err(origins.refuse(SETTING, &format!("'{arn}' is there twice")));
        }
        // Whoever may write in the outer one could put a link in the place of the inner one at the
        // moment in which that is shown to somebody.
        let holds = |outer: &FileSystem, inner: &FileSystem| {
            !outer.read_only && inner.path != outer.path && inner.path.starts_with(&outer.path)
        };
        if let Some(other) =
            file_systems.iter().find(|other| holds(&one, other) || holds(other, &one))
        {
            let what = format!(
                "'{arn}' and '{}' are one inside the other, and the outer one may be written to",
                other.name
            );
            return Err(origins.refuse(SETTING, &what));
        }
        file_systems.push(one);
    }
    Ok(file_systems)
}

fn file_system(raw: RawFileSystem) -> Result<FileSystem, String> {
    if !is_access_point(&raw.arn) {
        return Err("is no ARN of an access point, such as arn:aws:elasticfilesystem:us-east-1:\
                    000000000000:access-point/fsap-0123456789abcdef0"
            .to_owned());
    }
    let path = PathBuf::from(&raw.path);
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) || parts.any(|part| part == Component::ParentDir) {
        return Err(format!("has the path \"{}\", which is not absolute", raw.path));
    }
    if path == Path::new("/") {
        return Err("is the whole machine; name a folder".to_owned());
    }
    let id = |name: &str, id: i64| match u32::try_from(id) {
        Ok(0) => Err(format!("has the {name} 0: functions are not root anywhere")),
        Ok(id) if id < u32::MAX => Ok(id),
        _ => Err(format!("has the {name} {id}, which is none")),
    };
    let (uid, gid) = (id("uid", raw.uid)?, id("gid", raw.gid)?);
    // One that is there and is reached by a link would be refused at every start of an environment.
    let path = path.canonicalize().unwrap_or(path);
    Ok(FileSystem { name: raw.arn, path, read_only: raw.read_only, uid, gid })
}

/// As AWS's model has it: 17 hexadecimal digits after `fsap-`.
fn is_access_point(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let ["arn", partition, "elasticfilesystem", region, account, name] = parts[..] else {
        return false;
    };
    let id = name.strip_prefix("access-point/fsap-").unwrap_or_default();
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    partition.starts_with("aws")
        && !region.is_empty()
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && id.len() == 17
        && id.bytes().all(hex)
}
