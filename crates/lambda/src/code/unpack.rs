//! A zip's bytes → files in a staging folder.
//!
//! The life of one package: count entries without building anything → plan every path
//! ([`super::plan`]) → inflate file by file through one buffer, counting what really comes out →
//! make the links last. Nothing that the zip declares about sizes is trusted.

use std::collections::HashSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{Cursor, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zip::ZipArchive;
use zip::read::ZipFile;

use super::plan::{Kind, LINK_BYTES_MAX, NODES_MAX, Plan, components, refused};

const COPY_BUFFER_BYTES: usize = 64 * 1024;
const CENTRAL_HEADER_BYTES: usize = 46;
const CENTRAL_SIGNATURE: &[u8] = b"PK\x01\x02";

// The file type bits of a Unix mode (inode(7)).
const TYPE_MASK: u32 = 0o170_000;
const TYPE_FILE: u32 = 0o100_000;
const TYPE_FOLDER: u32 = 0o040_000;
const TYPE_LINK: u32 = 0o120_000;

/// Why a package could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// Not a zip, damaged, encrypted, or of a form that nobody here reads.
    #[error("the zip cannot be read: {0}")]
    Broken(String),
    /// A readable zip with something in it that is not let in.
    #[error("{0}")]
    Refused(String),
    /// More comes out than is allowed.
    #[error("more than {bytes_max} bytes come out")]
    TooLarge {
        /// The limit that was passed.
        bytes_max: u64,
    },
    /// Our own disk.
    #[error("writing the unpacked files: {0}")]
    Write(#[from] std::io::Error),
}

/// What came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Of all files together, uncompressed.
    pub(crate) bytes: u64,
    /// Files and links, without folders.
    pub(crate) files: usize,
}

/// Unpacks `zip` into the existing, empty folder `into`. On an error the folder may hold some of
/// the files and is to be thrown away.
pub(crate) fn unpack(zip: &[u8], into: &Path, bytes_max: u64) -> Result<Unpacked, UnpackError> {
    if count_signatures(zip) > NODES_MAX {
        return Err(refused(&format!("more than {NODES_MAX} entries")));
    }
    let mut archive = ZipArchive::new(Cursor::new(zip)).map_err(broken)?;
    check_directory(zip, &archive)?;
    let (entries, links) = plan_entries(&mut archive)?;
    if entries.iter().all(|entry| entry.is_folder) && links.is_empty() {
        return Err(UnpackError::Broken("it holds no file".to_owned()));
    }
    let mut writer = Writer { into, bytes: 0, bytes_max, buffer: vec![0; COPY_BUFFER_BYTES] };
    let mut made = HashSet::new();
    for entry in &entries {
        writer.make_folders(&entry.path, entry.is_folder, &mut made)?;
        if !entry.is_folder {
            let mut file = archive.by_index(entry.index).map_err(broken)?;
            writer.write_file(entry, &mut file)?;
        }
    }
    for (path, target) in &links {
        writer.make_folders(path, false, &mut made)?;
        symlink(target, into.join(path))?;
    }
    let files = entries.iter().filter(|entry| !entry.is_folder).count() + links.len();
    Ok(Unpacked { bytes: writer.bytes, files })
}

/// One entry, resolved.
struct Entry {
    index: usize,
    path: PathBuf,
    is_folder: bool,
    mode: u32,
    modified: SystemTime,
}

type Links = Vec<(PathBuf, String)>;

fn plan_entries(archive: &mut Archive<'_>) -> Result<(Vec<Entry>, Links), UnpackError> {
    let mut plan = Plan::new();
    let mut entries = Vec::with_capacity(archive.len());
    let mut links = Vec::new();
    for index in 0..archive.len() {
        // Opening it here also finds encryption and unknown methods before anything is written.
        let mut file = archive.by_index(index).map_err(broken)?;
        let name = entry_name(&file);
        let parts = components(&name)?;
        let path: PathBuf = parts.iter().collect();
        match entry_type(&file, &name)? {
            TYPE_LINK => {
                let target = link_target(&mut file)?;
                plan.add(&parts, Kind::Link(target.clone()))?;
                links.push((path, target));
            }
            kind => {
                let is_folder = kind == TYPE_FOLDER;
                plan.add(&parts, if is_folder { Kind::Folder } else { Kind::File })?;
                let (mode, modified) = (file_mode(file.unix_mode()), modified(&file));
                entries.push(Entry { index, path, is_folder, mode, modified });
            }
        }
    }
    plan.check_links()?;
    Ok((entries, links))
}

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// Names are bytes; those that are UTF-8 are meant as such even where the zip does not say so.
fn entry_name(file: &ZipFile<'_, Cursor<&[u8]>>) -> String {
    match std::str::from_utf8(file.name_raw()) {
        Ok(name) => name.to_owned(),
        Err(_) => file.name().to_owned(),
    }
}

fn entry_type(file: &ZipFile<'_, Cursor<&[u8]>>, name: &str) -> Result<u32, UnpackError> {
    let named_folder = name.ends_with('/');
    match file.unix_mode().unwrap_or(0) & TYPE_MASK {
        _ if named_folder => Ok(TYPE_FOLDER),
        0 | TYPE_FILE => Ok(TYPE_FILE),
        TYPE_FOLDER => Ok(TYPE_FOLDER),
        TYPE_LINK => Ok(TYPE_LINK),
        _ => Err(refused(&format!("'{}' is neither file, folder nor link", name.escape_debug()))),
    }
}

/// Everybody may read, who owned it and might execute it lets everybody execute it, nobody but the
/// owner writes, and no set-id or sticky bit survives: the function runs as another user than the
/// one that the package was made by.
fn file_mode(mode: Option<u32>) -> u32 {
    if mode.unwrap_or(0) & 0o100 == 0 { 0o644 } else { 0o755 }
}

fn link_target(file: &mut ZipFile<'_, Cursor<&[u8]>>) -> Result<String, UnpackError> {
    let mut target = Vec::new();
    let limit = LINK_BYTES_MAX as u64 + 1;
    file.take(limit).read_to_end(&mut target).map_err(|error| broken_text(&error))?;
    if target.len() > LINK_BYTES_MAX {
        return Err(refused(&format!("a link's target is longer than {LINK_BYTES_MAX} bytes")));
    }
    String::from_utf8(target).map_err(|_| refused("a link's target is not text"))
}

/// The moment of the last change. Interpreters compare it with that of their cached byte code.
fn modified(file: &ZipFile<'_, Cursor<&[u8]>>) -> SystemTime {
    for field in file.extra_data_fields() {
        if let zip::ExtraField::ExtendedTimestamp(times) = field
            && let Some(seconds) = times.mod_time()
        {
            return UNIX_EPOCH + Duration::from_secs(u64::from(seconds));
        }
    }
    let Some(date) = file.last_modified() else { return UNIX_EPOCH };
    let of_day = u64::from(date.hour()) * 3_600
        + u64::from(date.minute()) * 60
        + u64::from(date.second().min(59));
    let days = days_since_epoch(date.year(), date.month(), date.day());
    UNIX_EPOCH + Duration::from_secs(days * 86_400 + of_day)
}

/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms"; `year` is 1980 or later.
fn days_since_epoch(year: u16, month: u8, day: u8) -> u64 {
    let (month, day) = (u64::from(month.clamp(1, 12)), u64::from(day.clamp(1, 31)));
    let y = u64::from(year.max(1980)) - u64::from(month <= 2);
    let (era, yoe) = (y / 400, y % 400);
    let doy = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// An upper bound of the entries that any reader could find, before one builds a list of them.
fn count_signatures(zip: &[u8]) -> usize {
    zip.windows(4).filter(|window| *window == CENTRAL_SIGNATURE).count()
}

/// The zip library merges entries of the same name silently; two readers would see two packages.
/// So the central directory is walked once more and every name but a folder's must be alone.
fn check_directory(zip: &[u8], archive: &Archive<'_>) -> Result<(), UnpackError> {
    let mut names: HashSet<&[u8]> = HashSet::new();
    let start = usize::try_from(archive.central_directory_start()).unwrap_or(usize::MAX);
    let mut rest = zip.get(start..).unwrap_or_default();
    while rest.starts_with(CENTRAL_SIGNATURE) && rest.len() >= CENTRAL_HEADER_BYTES {
        let length = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
        let name_end = CENTRAL_HEADER_BYTES + length(28);
        let end = name_end + length(30) + length(32);
        let name = rest.get(CENTRAL_HEADER_BYTES..name_end).unwrap_or_default();
        if !names.insert(name) && !name.ends_with(b"/") {
            let name = String::from_utf8_lossy(name);
            return Err(refused(&format!("'{}' is there twice", name.escape_debug())));
        }
        rest = rest.get(end..).unwrap_or_default();
    }
    if names.len() != archive.len() {
        return Err(UnpackError::Broken("its directory disagrees with its end record".to_owned()));
    }
    Ok(())
}

fn broken(error: zip::result::ZipError) -> UnpackError {
    UnpackError::Broken(error.to_string())
}

fn broken_text(error: &std::io::Error) -> UnpackError {
    UnpackError::Broken(error.to_string())
}

struct Writer<'a> {
    into: &'a Path,
    bytes: u64,
    bytes_max: u64,
    buffer: Vec<u8>,
}

impl Writer<'_> {
    /// Makes the folders above `path`, and `path` itself if it is one.
    fn make_folders(
        &self,
        path: &Path,
        is_folder: bool,
        made: &mut HashSet<PathBuf>,
    ) -> Result<(), UnpackError> {
        let folder = if is_folder { Some(path) } else { path.parent() };
        let Some(folder) = folder else { return Ok(()) };
        let mut missing: Vec<&Path> = folder
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !made.contains(*path))
            .collect();
        while let Some(path) = missing.pop() {
            let full = self.into.join(path);
            DirBuilder::new().mode(0o755).create(&full)?;
            std::fs::set_permissions(&full, Permissions::from_mode(0o755))?;
            made.insert(path.to_owned());
        }
        Ok(())
    }

    fn write_file(
        &mut self,
        entry: &Entry,
        from: &mut ZipFile<'_, Cursor<&[u8]>>,
    ) -> Result<(), UnpackError> {
        let path = self.into.join(&entry.path);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        loop {
            let count = from.read(&mut self.buffer).map_err(|error| broken_text(&error))?;
            if count == 0 {
                break;
            }
            self.bytes += count as u64;
            if self.bytes >= self.bytes_max {
                return Err(UnpackError::TooLarge { bytes_max: self.bytes_max });
            }
            file.write_all(&self.buffer[..count])?;
        }
        finish(&file, entry)
    }
}

fn finish(file: &File, entry: &Entry) -> Result<(), UnpackError> {
    file.set_permissions(Permissions::from_mode(entry.mode))?;
    file.set_modified(entry.modified)?;
    Ok(())
}

#[cfg(test)]
mod tests;
