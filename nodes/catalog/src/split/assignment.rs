//! Rows to parts by hash: what `split.random` and `split.folds` share, and what every split writes.
//!
//! A row's hash comes from the pipeline's seed and the cells that name the row, so no row's part
//! depends on where it stands. Hashes are compared with cuts: fixed shares of the range of hashes,
//! or, stratified, the places where the hashes of a class part into those shares.

use std::collections::{BTreeMap, HashMap};

use engine_core::{LogicalType, Part, Role};
use engine_table::{At, Change, ColumnType, Context, NodeError, Problem, RowSet, TableType, TrainRows, Written};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clean::cast;
use crate::codes::{COLUMN_EXISTS, COLUMN_TYPE, SPLIT_RULE, SPLIT_SHARES};
use crate::place;
use crate::row_bytes::{RowBytes, is_scalar};

/// One past the greatest hash.
const RANGE: u64 = 1 << 63;

/// How large each part is, as shares of all rows that add up to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shares {
    /// The rows that are learnt from.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub train: f64,
    /// The rows that choices are made on.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub validation: f64,
    /// The rows that are scored once.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub test: f64,
}

impl Shares {
    /// A problem if they are not shares of one whole with rows to learn from.
    pub(super) fn check(self, problems: &mut Vec<Problem>) {
        let Shares { train, validation, test } = self;
        let sum = train + validation + test;
        // The shares are written in decimals, which do not add up exactly.
        let message = if (sum - 1.0).abs() > 1e-9 {
            format!("the shares add up to {}, not 1", (sum * 1e9).round() / 1e9)
        } else if train <= 0.0 {
            "the share of `train` is 0, so nothing can be learnt".to_owned()
        } else {
            return;
        };
        problems.push(
            Problem::error(&SPLIT_SHARES, place::option("shares"), message)
                .help("write for example `shares: {train: 0.7, validation: 0.15, test: 0.15}`"),
        );
    }
}

/// What an author says of the cells that part rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct By<'a> {
    /// The columns that name a row.
    pub(super) key: &'a [String],
    /// The column whose equal cells mark rows that stay together.
    pub(super) group: Option<&'a str>,
    /// The column whose classes are parted each in the same shares.
    pub(super) stratify: Option<&'a str>,
}

/// By which cells rows are parted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Assigner {
    /// The columns whose cells are hashed.
    hashed: Vec<String>,
    /// The column whose classes are parted each in the same shares.
    stratify: Option<String>,
}

impl Assigner {
    /// Finds the columns: `group`, else `key`, else the columns with the role group, else those with the
    /// role key, else every plain column. Of the columns it reads alone it finds the same again.
    pub(super) fn new(table: &TableType, by: By<'_>) -> Result<Assigner, Vec<Problem>> {
        let By { key, group, stratify } = by;
        let mut problems = Vec::new();
        let grouped: Vec<String> = match group {
            Some(group) => vec![group.to_owned()],
            None if key.is_empty() => names(table.with_role(Role::Group)),
            None => Vec::new(),
        };
        if let (Some(stratify), Some(group)) = (stratify, grouped.first()) {
            let message = format!("rows cannot both stay whole by `{group}` and keep the shares of `{stratify}`");
            let out = match group_is_an_option(group, table) {
                true => "take `stratify` or `group` out".to_owned(),
                false => format!("take `stratify` out; `{group}` has the role group"),
            };
            problems.push(Problem::error(&SPLIT_RULE, place::option("stratify"), message).help(out));
        }
        let wanted: Vec<(String, At)> = if let Some(group) = group {
            vec![(group.to_owned(), place::option("group"))]
        } else if !key.is_empty() {
            key.iter().enumerate().map(|(index, name)| (name.clone(), place::entry("key", index))).collect()
        } else {
            let by_role = if grouped.is_empty() { names(table.with_role(Role::Key)) } else { grouped };
            let plain = || names(table.columns.iter().filter(|c| is_scalar(&c.logical) && c.role != Role::Split));
            let found = if by_role.is_empty() { plain() } else { by_role };
            found.into_iter().map(|name| (name, At::Node)).collect()
        };
        let hashed = wanted.iter().map(|(name, _)| name.clone()).collect();
        let stratum = stratify.map(|name| (name.to_owned(), place::option("stratify")));
        for (name, at) in wanted.into_iter().chain(stratum.clone()) {
            match table.require(&name, at.clone()) {
                Ok(column) if is_scalar(&column.logical) => {}
                Ok(column) => {
                    let message = format!("`{name}` is {}, and a split goes by plain cells", column.logical);
                    problems.push(Problem::error(&COLUMN_TYPE, at, message));
                }
                Err(problem) => problems.push(problem),
            }
        }
        if let Some(column) = stratify.and_then(|name| table.column(name))
            && matches!(column.logical, LogicalType::Float | LogicalType::Datetime)
        {
            let message = format!("`{}` is {}, which has no classes to stratify by", column.name, column.logical);
            problems.push(
                Problem::error(&COLUMN_TYPE, place::option("stratify"), message)
                    .help("stratify by a category, bool or int column"),
            );
        }
        if problems.is_empty() { Ok(Assigner { hashed, stratify: stratify.map(str::to_owned) }) } else { Err(problems) }
    }

    /// The columns it reads.
    pub(super) fn reads(&self) -> Vec<String> {
        let mut reads = self.hashed.clone();
        reads.extend(self.stratify.iter().filter(|name| !self.hashed.contains(name)).cloned());
        reads
    }

    /// The hash of every row under `seed`.
    fn hashes(&self, rows: &DataFrame, seed: u64) -> Result<Vec<u64>, NodeError> {
        Ok(RowBytes::new(rows, self.hashed.iter().map(String::as_str))?.hashes(seed))
    }
}

fn group_is_an_option(group: &str, table: &TableType) -> bool {
    table.column(group).is_none_or(|column| column.role != Role::Group)
}

fn names<'a>(columns: impl Iterator<Item = &'a ColumnType>) -> Vec<String> {
    columns.map(|column| column.name.clone()).collect()
}

fn classes(rows: &DataFrame, stratify: &str) -> Result<StringChunked, NodeError> {
    let column = rows.column(stratify).map_err(NodeError::failed)?;
    cast::text(column.as_materialized_series()).map_err(NodeError::failed)
}

fn slot(hash: u64, cuts: &[u64]) -> usize {
    cuts.iter().filter(|cut| hash >= **cut).count()
}

/// What a share is a share of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShareOf {
    /// The range of hashes: a part has its share in the mean, and no row moves another.
    Hashes,
    /// The different cells that are hashed: parts differ by one at most, however few there are. Without it a few groups
    /// would be dealt unevenly, some folds getting none.
    Cells,
}

/// Where the hashes of rows are cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cuts {
    assigner: Assigner,
    /// The seed of the hashes.
    seed: u64,
    /// The cuts for rows of no known class.
    even: Vec<u64>,
    /// The cuts of each class, if it is stratified.
    strata: Vec<Stratum>,
}

/// The cuts of a class; `None` is the class of the missing cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stratum {
    class: Option<String>,
    cuts: Vec<u64>,
}

impl Cuts {
    /// Learns the cuts between slots whose upper ends are `ends`: ascending shares, the last slot's end 1 left out.
    /// `of` says what they are shares of where nothing is stratified; `purpose` keeps independent choices over the same rows apart.
    pub(super) fn learn(
        by: By<'_>,
        ends: &[f64],
        of: ShareOf,
        purpose: &str,
        train: TrainRows<'_>,
        context: &Context,
    ) -> Result<Cuts, NodeError> {
        let table = TableType { columns: train.columns().to_vec(), row_set: RowSet(String::new()) };
        let assigner = Assigner::new(&table, by).map_err(|problems| {
            NodeError::Failed(problems.first().map_or_else(String::new, |problem| problem.message.clone()))
        })?;
        let seed = context.pipeline_seed.derive(purpose).value();
        let mut strata = Vec::new();
        if let Some(stratify) = &assigner.stratify {
            let hashes = assigner.hashes(train.frame(), seed)?;
            let mut by_class: BTreeMap<Option<String>, Vec<u64>> = BTreeMap::new();
            for (class, hash) in classes(train.frame(), stratify)?.iter().zip(hashes) {
                by_class.entry(class.map(str::to_owned)).or_default().push(hash);
            }
            for (class, mut hashes) in by_class {
                hashes.sort_unstable();
                strata.push(Stratum { class, cuts: ends.iter().map(|end| cut(&hashes, *end)).collect() });
            }
        }
        let even = match of {
            ShareOf::Hashes => ends.iter().map(|end| (end * RANGE as f64) as u64).collect(),
            ShareOf::Cells => {
                let mut hashes = assigner.hashes(train.frame(), seed)?;
                hashes.sort_unstable();
                hashes.dedup();
                ends.iter().map(|end| cut(&hashes, *end)).collect()
            }
        };
        Ok(Cuts { assigner, seed, even, strata })
    }

    /// The slot of every row, from 0.
    pub(super) fn slots(&self, rows: &DataFrame) -> Result<Vec<usize>, NodeError> {
        let hashes = self.assigner.hashes(rows, self.seed)?;
        let Some(stratify) = &self.assigner.stratify else {
            return Ok(hashes.into_iter().map(|hash| slot(hash, &self.even)).collect());
        };
        let strata: HashMap<Option<&str>, &[u64]> =
            self.strata.iter().map(|stratum| (stratum.class.as_deref(), stratum.cuts.as_slice())).collect();
        let classes = classes(rows, stratify)?;
        let of_class = |class: Option<&str>| strata.get(&class).copied().unwrap_or(self.even.as_slice());
        Ok(classes.iter().zip(hashes).map(|(class, hash)| slot(hash, of_class(class))).collect())
    }
}

/// The least hash that is no more among the first `share` of the ascending `hashes`.
fn cut(hashes: &[u64], share: f64) -> u64 {
    match (share * hashes.len() as f64).round() as usize {
        0 => 0,
        first => hashes.get(first).copied().unwrap_or(RANGE),
    }
}

/// What a split does to its table: it reads `reads` and writes the split column, which takes the place of
/// any earlier one.
pub(super) fn split_change(table: &TableType, name: &str, reads: Vec<String>) -> Result<Change, Vec<Problem>> {
    if let Some(column) = table.column(name).filter(|column| column.role != Role::Split) {
        let message = format!("the input has a column `{name}`, whose role is {}", column.role);
        return Err(vec![
            Problem::error(&COLUMN_EXISTS, place::option("as"), message)
                .help(format!("name the split otherwise, as in `as: part`, or give `{name}` the role split")),
        ]);
    }
    let column = ColumnType::new(name, LogicalType::Category).with_role(Role::Split);
    let earlier = table.with_role(Role::Split).filter(|column| column.name != name);
    Ok(Change {
        writes: vec![Written::new(column, reads.iter().map(String::as_str))],
        drops: names(earlier),
        fit_reads: reads.clone(),
        reads,
        ..Change::default()
    })
}

/// The written split column.
pub(super) fn split_frame(name: &str, parts: impl Iterator<Item = Part>) -> Result<DataFrame, NodeError> {
    let words = StringChunked::from_iter_values(name.into(), parts.map(Part::as_str));
    DataFrame::new(words.len(), vec![words.into_series().into_column()]).map_err(NodeError::failed)
}

/// The name of the split column if the author gives none.
pub(super) fn default_column() -> String {
    "split".to_owned()
}
