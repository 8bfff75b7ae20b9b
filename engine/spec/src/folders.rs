//! From where relative paths resolve.

use std::path::Path;

/// The two folders relative paths start from, as absolute texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    pipeline: String,
    working: String,
}

/// A folder that paths cannot start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FoldersError {
    /// It is not absolute.
    #[error("the folder `{0}` is not absolute")]
    NotAbsolute(String),
    /// Its name is no Unicode text, so no YAML, record or message could hold it.
    #[error("the name of the folder `{0}` is not UTF-8; move the pipeline to a folder whose name is")]
    NotUnicode(String),
}

impl Folders {
    /// Relative paths in the pipeline start at `pipeline`, the folder of its file, those given on the command
    /// line or in the environment at `working`.
    ///
    /// # Errors
    /// [`FoldersError`] if one of them is not absolute or no Unicode text.
    pub fn new(pipeline: &Path, working: &Path) -> Result<Folders, FoldersError> {
        Ok(Folders { pipeline: absolute(pipeline)?, working: absolute(working)? })
    }

    pub(crate) fn pipeline(&self) -> &Path {
        Path::new(&self.pipeline)
    }

    pub(crate) fn working(&self) -> &Path {
        Path::new(&self.working)
    }
}

fn absolute(folder: &Path) -> Result<String, FoldersError> {
    let shown = || folder.display().to_string();
    if !folder.is_absolute() {
        return Err(FoldersError::NotAbsolute(shown()));
    }
    folder.to_str().map(str::to_owned).ok_or_else(|| FoldersError::NotUnicode(shown()))
}

/// `path` as seen from `folder`: absolute, without `.` steps; an address with a scheme stays as it is.
pub(crate) fn join(folder: &Path, path: &str) -> String {
    if is_address(path) {
        return path.to_owned();
    }
    // `..` stays: what it leads to depends on links, which only the file system knows.
    let joined: std::path::PathBuf = folder.join(path).components().collect();
    joined.to_str().map_or_else(|| path.to_owned(), str::to_owned)
}

/// Whether `path` begins with a scheme, as in `s3://bucket/key`.
pub(crate) fn is_address(path: &str) -> bool {
    path.split_once("://").is_some_and(|(scheme, _)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_are_joined_and_others_stay() {
        let check = |path: &str, joined: &str| assert_eq!(join(Path::new("/home/p"), path), joined);
        check("data/a.csv", "/home/p/data/a.csv");
        check("./data/./a.csv", "/home/p/data/a.csv");
        check("../a.csv", "/home/p/../a.csv");
        check("/srv/a.csv", "/srv/a.csv");
        check("s3://bucket/a.csv", "s3://bucket/a.csv");
        check("a:b", "/home/p/a:b");
        check(".", "/home/p");
    }

    #[test]
    fn a_folder_must_be_absolute() {
        assert_eq!(Folders::new(Path::new("p"), Path::new("/w")), Err(FoldersError::NotAbsolute("p".into())));
    }
}
