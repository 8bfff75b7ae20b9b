//! Where things stand in the store's folder, and which layout it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use engine_core::Digest;

use crate::StoreError;

/// The newest layout this code knows.
pub(crate) const FORMAT: u32 = 1;

const FORMAT_PREFIX: &str = "fuseline store ";

/// What a killed process left in `tmp/` is taken away after this time; what is younger may be in use.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// The paths of a store.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn database(&self) -> PathBuf {
        self.root.join("fuseline.db")
    }

    pub(crate) fn claims(&self) -> PathBuf {
        self.root.join("claims")
    }

    pub(crate) fn temporary(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    pub(crate) fn object(&self, digest: &Digest) -> PathBuf {
        let name = digest.to_string();
        self.objects().join(&name[..2]).join(&name[2..])
    }

    /// The layout of an existing store.
    pub(crate) fn existing(root: &Path) -> Result<Layout, StoreError> {
        let layout = Layout { root: root.to_owned() };
        let path = root.join("format");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::Absent { path: root.to_owned() });
            }
            Err(error) => return Err(StoreError::file("read", path)(error)),
        };
        let found = text.trim().strip_prefix(FORMAT_PREFIX).and_then(|rest| rest.parse::<u32>().ok());
        match found {
            Some(found) if found <= FORMAT => Ok(layout),
            Some(found) => Err(StoreError::NewerFormat { path: root.to_owned(), found, known: FORMAT }),
            None => Err(StoreError::NotAStore { path: root.to_owned(), found: text.trim().chars().take(60).collect() }),
        }
    }

    /// The layout at `root`, made if it is not there. Several processes may do this at once.
    pub(crate) fn make(root: &Path) -> Result<Layout, StoreError> {
        let layout = Layout { root: root.to_owned() };
        for folder in [root.to_owned(), layout.objects(), layout.temporary()] {
            fs::create_dir_all(&folder).map_err(StoreError::file("make the folder", folder))?;
        }
        let format = root.join("format");
        if !format.exists() {
            layout.write_whole(&format, format!("{FORMAT_PREFIX}{FORMAT}\n").as_bytes())?;
        }
        let layout = Layout::existing(root)?;
        layout.remove_stale();
        Ok(layout)
    }

    /// Writes a file so that it is there whole or not at all.
    pub(crate) fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        use std::io::Write;
        use std::os::unix::fs::PermissionsExt;
        let folder = self.temporary();
        // As any other new file, less what the user's mask takes away: a store may be shared by a group.
        let mut file = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(&folder)
            .map_err(StoreError::file("write in", folder))?;
        file.write_all(bytes).map_err(StoreError::file("write", path))?;
        file.persist(path).map_err(|error| StoreError::file("write", path)(error.error))?;
        Ok(())
    }

    fn remove_stale(&self) {
        let Ok(entries) = fs::read_dir(self.temporary()) else { return };
        let now = SystemTime::now();
        for entry in entries.flatten() {
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok();
            let age = age.and_then(|modified| now.duration_since(modified).ok());
            if age.is_some_and(|age| age > STALE)
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::debug!(path = %entry.path().display(), %error, "cannot remove a stale temporary file");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_or_foreign_folder_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Layout::existing(folder.path()), Err(StoreError::Absent { .. })));
        Layout::make(folder.path()).unwrap();
        Layout::make(folder.path()).unwrap();
        fs::write(folder.path().join("format"), "fuseline store 99\n").unwrap();
        let error = Layout::make(folder.path()).unwrap_err();
        assert!(matches!(error, StoreError::NewerFormat { found: 99, known: FORMAT, .. }));
        assert!(error.to_string().contains("newer fuseline"), "{error}");
        fs::write(folder.path().join("format"), "photos").unwrap();
        assert!(matches!(Layout::existing(folder.path()), Err(StoreError::NotAStore { .. })));
    }

    #[test]
    fn only_old_temporary_files_are_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::make(folder.path()).unwrap();
        let (old, young) = (layout.temporary().join("old"), layout.temporary().join("young"));
        fs::write(&young, "").unwrap();
        let file = fs::File::create(&old).unwrap();
        file.set_modified(SystemTime::now() - STALE - Duration::from_secs(60)).unwrap();
        Layout::make(folder.path()).unwrap();
        assert!(young.exists() && !old.exists());
    }
}
