//! Tables of files by category, as globs: which category a path belongs to, found in no time for the many
//! paths that belong to none.

use globset::{GlobSet, GlobSetBuilder};

use super::landmarks::Landmarks;
use super::{DetectError, paths};

/// A category of such a table.
pub trait Category {
    /// The files that are meant.
    fn paths(&self) -> &[String];
    /// Those of them that are not.
    fn except(&self) -> &[String];
}

/// The globs of all categories, compiled.
#[derive(Debug)]
pub struct Patterns {
    landmarks: Landmarks,
    files: GlobSet,
    /// What each glob of the set stands for.
    meanings: Vec<Found>,
    /// Exceptions, by category.
    except: Vec<GlobSet>,
}

/// What a path was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Number of the category.
    pub category: usize,
    /// Number of the pattern among the category's.
    pub pattern: usize,
}

impl Patterns {
    /// Compiles the categories of the table `file`. `homes` are home directories beyond the usual places.
    pub fn new<C: Category>(
        file: &'static str,
        categories: &[C],
        homes: &[String],
    ) -> Result<Self, DetectError> {
        let broken = |message: String| DetectError::Data { file, message };
        if categories.is_empty() || categories.iter().any(|category| category.paths().is_empty()) {
            return Err(broken("no categories, or one without paths".into()));
        }
        let mut files = GlobSetBuilder::new();
        let mut meanings = Vec::new();
        for (number, category) in categories.iter().enumerate() {
            for (pattern, text) in category.paths().iter().enumerate() {
                let globs =
                    paths::expand(text, homes).map_err(|error| broken(error.to_string()))?;
                for glob in globs {
                    files.add(glob);
                    meanings.push(Found { category: number, pattern });
                }
            }
        }
        let except = categories
            .iter()
            .map(|category| paths::set(category.except().iter().map(String::as_str), homes))
            .collect::<Result<_, _>>()
            .map_err(|error| broken(error.to_string()))?;
        let all = categories.iter().flat_map(Category::paths);
        Ok(Self {
            landmarks: Landmarks::of(all.map(String::as_str)),
            files: files.build().map_err(|error| broken(error.to_string()))?,
            meanings,
            except,
        })
    }

    /// What the path is, when it is in the table.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<Found> {
        // Nearly every path ends here.
        if !self.landmarks.are_in(path) {
            return None;
        }
        self.files.matches(path).into_iter().find_map(|number| {
            let found = *self.meanings.get(number)?;
            let excepted = self.except.get(found.category)?.is_match(path);
            (!excepted).then_some(found)
        })
    }
}
