//! What a plug-in's folder holds, as one digest: edit its code and exactly its nodes run again.
//!
//! Every file counts by its path in the folder and its bytes; caches that programs leave behind do not. Neither do
//! packages installed elsewhere: a list of their versions in the folder does.

use std::fs;
use std::path::{Path, PathBuf};

use engine_core::{Digest, Hasher};

/// Names of files and folders that change without the plug-in changing.
const CACHES: &[&str] = &[
    "__pycache__",
    ".DS_Store",
    ".git",
    ".hg",
    ".ipynb_checkpoints",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".svn",
    ".venv",
];

/// More files than this are no plug-in.
const MOST_FILES: usize = 10_000;

/// More bytes than this would make every check slow.
const MOST_BYTES: u64 = 256 << 20;

/// Why a folder cannot be digested.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something in it cannot be read.
    #[error("`{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A link to a folder in it.
    #[error("`{}` is a link to a folder, whose content would not key the plug-in; copy it into the plug-in's folder", .0.display())]
    Link(PathBuf),
    /// It holds too much.
    #[error(
        "the folder holds more than {MOST_FILES} files or {} MiB, all of which are read at every check; keep what is no \
         part of the plug-in elsewhere",
        MOST_BYTES >> 20
    )]
    TooLarge,
}

/// The digest of everything in `folder` but caches.
///
/// # Errors
/// [`FolderError`] if something cannot be read, or is more than a plug-in.
pub fn digest(folder: &Path) -> Result<Digest, FolderError> {
    let mut files = files(folder)?;
    files.sort();
    let mut hasher = Hasher::new("fuseline.plugin.v1");
    let mut bytes = 0;
    for path in files {
        let content = fs::read(&path).map_err(|source| FolderError::Unreadable { path: path.clone(), source })?;
        bytes += content.len() as u64;
        if bytes > MOST_BYTES {
            return Err(FolderError::TooLarge);
        }
        let inside = path.strip_prefix(folder).unwrap_or(&path);
        let steps: Vec<&[u8]> = inside.iter().map(|step| step.as_encoded_bytes()).collect();
        hasher.field(&steps.join(&b'/')).field(&content);
    }
    Ok(hasher.finish())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, FolderError> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = open.pop() {
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| FolderError::Unreadable { path, source }
        };
        for entry in fs::read_dir(&folder).map_err(unreadable(&folder))? {
            let entry = entry.map_err(unreadable(&folder))?;
            let path = entry.path();
            let is_cache = entry.file_name().to_str().is_some_and(|name| CACHES.contains(&name));
            if is_cache || path.extension().is_some_and(|extension| extension == "pyc") {
                continue;
            }
            let sort = entry.file_type().map_err(unreadable(&path))?;
            // A pipe or a socket has no content, and reading one might never end.
            match sort.is_symlink() {
                true if fs::metadata(&path).map_err(unreadable(&path))?.is_dir() => {
                    return Err(FolderError::Link(path));
                }
                true => found.push(path),
                false if sort.is_dir() => open.push(path),
                false if sort.is_file() => found.push(path),
                false => {}
            }
            if found.len() > MOST_FILES {
                return Err(FolderError::TooLarge);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    fn digest_of(files: &[(&str, &str)]) -> Digest {
        digest(folder(files).path()).unwrap()
    }

    #[test]
    fn names_and_content_count_and_caches_do_not() {
        let plain = digest_of(&[("plugin.yaml", "a"), ("lib/main.py", "b")]);
        assert_eq!(digest_of(&[("lib/main.py", "b"), ("plugin.yaml", "a"), ("lib/__pycache__/main.pyc", "x")]), plain);
        assert_eq!(digest_of(&[("lib/main.py", "b"), ("plugin.yaml", "a"), (".git/HEAD", "x"), ("a.pyc", "")]), plain);
        assert_ne!(digest_of(&[("plugin.yaml", "a"), ("lib/main.py", "c")]), plain);
        assert_ne!(digest_of(&[("plugin.yaml", "a"), ("main.py", "b")]), plain);
        assert_ne!(digest_of(&[("plugin.yaml", "a"), ("lib/main.py", "b"), ("empty", "")]), plain);
    }

    #[test]
    fn a_link_to_a_folder_is_refused_and_one_to_a_file_is_its_content() {
        let outside = folder(&[("words.txt", "good")]);
        let inside = folder(&[("plugin.yaml", "a")]);
        std::os::unix::fs::symlink(outside.path().join("words.txt"), inside.path().join("words.txt")).unwrap();
        assert_eq!(digest(inside.path()).unwrap(), digest_of(&[("plugin.yaml", "a"), ("words.txt", "good")]));
        std::os::unix::fs::symlink(outside.path(), inside.path().join("lib")).unwrap();
        assert!(matches!(digest(inside.path()), Err(FolderError::Link(path)) if path.ends_with("lib")));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = digest(Path::new("/nowhere/plugin")).unwrap_err().to_string();
        assert!(error.starts_with("`/nowhere/plugin` cannot be read"), "{error}");
    }
}
