//! Makes one folder of several layers: what is in a later one stands in place of what is in an
//! earlier one.
//!
//! Files are hard links to those of the layers, which nobody writes to, so the folder costs names and
//! no contents. A file in the place of a folder, or a folder in the place of a file, replaces it whole.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// Puts `layer` into `into`, over what is there.
pub(crate) fn merge(layer: &Path, into: &Path) -> io::Result<()> {
    let mut folders: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(layer.join(&below))? {
            let entry = entry?;
            let place = below.join(entry.file_name());
            let target = into.join(&place);
            let kind = entry.file_type()?;
            if kind.is_dir() {
                make_folder(&target, entry.metadata()?.permissions().mode())?;
                folders.push(place);
                continue;
            }
            clear(&target)?;
            if kind.is_symlink() {
                symlink(fs::read_link(entry.path())?, &target)?;
            } else {
                link(&entry.path(), &target)?;
            }
        }
    }
    Ok(())
}

/// A file has as many names as its file system lets it; then there is a copy.
fn link(file: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(file, target) {
        Err(error) if error.kind() == io::ErrorKind::TooManyLinks => {
            fs::copy(file, target).map(drop)
        }
        linked => linked,
    }
}

fn make_folder(target: &Path, mode: u32) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => return Ok(()),
        Ok(_) => fs::remove_file(target)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir(target)?;
    // We have to be able to fill it, whatever the package says.
    fs::set_permissions(target, Permissions::from_mode(mode | 0o700))
}

fn clear(target: &Path) -> io::Result<()> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(target),
        Ok(_) => fs::remove_file(target),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => symlink(target, &path).unwrap(),
                None => fs::write(&path, text).unwrap(),
            }
        }
        folder
    }

    #[test]
    fn later_layers_stand_over_earlier_ones() {
        let layers = [
            layer(&[("a", "1"), ("both", "1"), ("file", "1"), ("folder/x", "1"), ("link", "-> a")]),
            layer(&[("b", "2"), ("both", "2"), ("file/y", "2"), ("folder", "2"), ("link", "2")]),
        ];
        let into = tempfile::tempdir().unwrap();
        for layer in &layers {
            merge(layer.path(), into.path()).unwrap();
        }
        let read = |path: &str| fs::read_to_string(into.path().join(path)).unwrap();
        assert_eq!((read("a"), read("b"), read("both")), ("1".into(), "2".into(), "2".into()));
        assert_eq!(
            (read("file/y"), read("folder"), read("link")),
            ("2".into(), "2".into(), "2".into())
        );
        // The layers are as they were.
        assert_eq!(fs::read_to_string(layers[0].path().join("both")).unwrap(), "1");
        assert_eq!(fs::read_to_string(layers[0].path().join("a")).unwrap(), "1");
        assert!(layers[0].path().join("folder/x").exists());
    }
}
