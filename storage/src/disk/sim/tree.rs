//! Names of the simulated disk, and the changes of them that a power cut may lose.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file, whatever its names are.
pub(super) type InodeId = u64;

/// The folders and the names of files in them. The root is the empty path.
#[derive(Clone, Default)]
pub(super) struct Tree {
    pub(super) folders: Arc<BTreeSet<PathBuf>>,
    pub(super) names: BTreeMap<PathBuf, InodeId>,
}

impl Tree {
    /// Whether the folder that would hold `path` exists.
    pub(super) fn has_parent_of(&self, path: &Path) -> bool {
        path.parent().is_some_and(|parent| self.has_folder(parent))
    }

    fn has_folder(&self, path: &Path) -> bool {
        path.as_os_str().is_empty() || self.folders.contains(path)
    }

    /// The names of files in `dir`; None if there is no such folder.
    pub(super) fn list(&self, dir: &Path) -> Option<Vec<String>> {
        let name = |path: &PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
        // What is below a folder follows it. The crash tests list hundreds of empty folders for each state.
        let after = self.names.range::<Path, _>((Bound::Excluded(dir), Bound::Unbounded)).map(|(path, _)| path);
        let inside = after.take_while(|path| path.starts_with(dir)).filter(|path| path.parent() == Some(dir));
        self.has_folder(dir).then(|| inside.filter_map(name).collect())
    }

    /// Takes away what lies in a folder that does not exist.
    pub(super) fn prune(&mut self) {
        let lost: Vec<PathBuf> = self.names.keys().filter(|path| !self.has_parent_of(path)).cloned().collect();
        lost.iter().for_each(|path| {
            self.names.remove(path);
        });
    }
}

/// One change of one or (a move) two folders. It happens whole or not at all.
#[derive(Clone)]
pub(super) enum Change {
    Folder { path: PathBuf },
    Link { path: PathBuf, inode: InodeId },
    Unlink { path: PathBuf },
    Move { from: PathBuf, to: PathBuf, inode: InodeId },
}

impl Change {
    pub(super) fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Folder { path } => {
                Arc::make_mut(&mut tree.folders).insert(path.clone());
            }
            Self::Link { path, inode } => {
                tree.names.insert(path.clone(), *inode);
            }
            Self::Unlink { path } => {
                tree.names.remove(path);
            }
            Self::Move { from, to, inode } => {
                tree.names.remove(from);
                tree.names.insert(to.clone(), *inode);
            }
        }
    }

    /// Whether syncing `dir` makes the change durable.
    pub(super) fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Folder { path } | Self::Link { path, .. } | Self::Unlink { path } => path.parent() == Some(dir),
            Self::Move { from, to, .. } => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}
