//! `extract.tokenize`: text as token numbers.

use std::path::PathBuf;
use std::sync::OnceLock;

use engine_core::{LogicalType, Serving, Size};
use engine_table::{
    Change, Context, Describe, FitApply, NodeError, OPTION_INVALID, PathOption, Problem, TableType, TrainRows,
    token_column,
};
use nodes_media::text::{Case, FileTokenizer, Unit, Vocabulary, VocabularyRule};
use polars::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::media;
use crate::place;

/// Makes a `tokens[max_length]` column of a column of text.
///
/// Words or characters are numbered by how often they stand in the train rows: 0 is padding, 1 what has no number of its
/// own, and from 2 on the entries by falling count, those of one count in the order of their bytes. Or a `tokenizer.json`
/// (WordPiece, BPE, ... as the `tokenizers` library writes it) is run as its authors do; its content becomes part of what is
/// fitted, so a deployment needs no file. Where such a file's number 0 is not its padding, every number is one more
/// than in the file.
///
/// Longer texts are cut at the end, shorter ones padded with 0 at the end. Empty text is present, with no token. A missing
/// cell is all padding; where cells may be missing a second column, named `<as>_present`, says which are there; encoders
/// read it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizeOptions {
    /// The column of text or categories.
    pub column: String,

    /// What a text is cut into; `word` by default. Not with `tokenizer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,

    /// A `tokenizer.json` to run instead of a vocabulary learnt from the train rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathOption>,

    /// How many tokens a text has at most, from 1 to 4096; 32 by default.
    #[serde(default = "default_max_length")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_length: u64,

    /// How many entries have a number of their own at most, from 1; 20000 by default. Not with `tokenizer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000000))]
    pub max_vocabulary: Option<u64>,

    /// How often an entry must stand in the train rows to have a number of its own, from 1; 2 by default, so that there
    /// are unknown ones to learn from. Not with `tokenizer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub min_count: Option<u64>,

    /// Whether text is made lower case first; true by default. Not with `tokenizer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower_case: Option<bool>,

    /// The name of the token column.
    #[serde(rename = "as")]
    #[schemars(length(min = 1))]
    pub written: String,
}

fn default_max_length() -> u64 {
    32
}

/// What a text is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum By {
    /// Runs of letters and digits; every other sign but white space is a word of its own.
    Word,
    /// Single characters, white space too.
    Character,
}

/// What numbers the tokens.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbering {
    /// A vocabulary learnt from the train rows.
    Vocabulary(Vocabulary),
    /// A tokeniser's file.
    File(Box<TokenizerFile>),
}

/// The content of a tokeniser's file, read as a tokeniser when it is first used.
#[derive(Serialize, Deserialize)]
pub struct TokenizerFile {
    content: String,
    #[serde(skip)]
    tokenizer: OnceLock<Result<FileTokenizer, String>>,
}

impl std::fmt::Debug for TokenizerFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a tokenizer.json of {} bytes", self.content.len())
    }
}

/// The kind.
pub struct Tokenize {
    options: TokenizeOptions,
}

impl Describe for Tokenize {
    const KIND: &'static str = "extract.tokenize";
    const VERSION: u32 = 1;
    const SERVING: Serving = Serving::Same;
    const EXAMPLE: &'static str = r"fuseline: 1
name: questions
nodes:
  rows:
    uses: ingest.csv
    with: {path: questions.csv, schema: {question: text, intent: category}, roles: {intent: target}}
  split: {uses: split.random, with: {shares: {train: 0.8, test: 0.2}}, in: rows}
  tokens: {uses: extract.tokenize, with: {column: question, as: words, max_length: 24}, in: split}
";
    type Options = TokenizeOptions;

    fn new(options: TokenizeOptions) -> Result<Tokenize, Vec<Problem>> {
        let mut problems = Vec::new();
        if options.tokenizer.is_some() {
            let given = [
                ("by", options.by.is_some()),
                ("max_vocabulary", options.max_vocabulary.is_some()),
                ("min_count", options.min_count.is_some()),
                ("lower_case", options.lower_case.is_some()),
            ];
            for (option, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                let message = format!(
                    "`{option}` is for vocabularies learnt from the train rows, and `tokenizer` brings its own"
                );
                problems.push(
                    Problem::error(&OPTION_INVALID, place::option(option), message)
                        .help(format!("leave `{option}` or `tokenizer` out")),
                );
            }
        }
        if problems.is_empty() { Ok(Tokenize { options }) } else { Err(problems) }
    }
}

impl FitApply for Tokenize {
    type Fitted = Numbering;

    fn infer(&self, table: &TableType) -> Result<Change, Vec<Problem>> {
        let options = &self.options;
        let takes = "only text and categories can be cut into tokens";
        let column = media::source(table, &options.column, place::option("column"), &["text", "category"], takes)
            .map_err(|problem| vec![problem])?;
        let reads = vec![options.column.clone()];
        let tokens = LogicalType::Tokens(Size::Known(options.max_length));
        let writes = media::writes(table, &options.written, tokens, &reads, column.nullable)?;
        // A file is all there is to learn from.
        let fit_reads = if options.tokenizer.is_some() { Vec::new() } else { reads.clone() };
        Ok(Change { fit_reads, reads, writes, ..Change::default() })
    }

    fn files(&self) -> Vec<PathBuf> {
        self.options.tokenizer.iter().map(|path| path.as_path().to_owned()).collect()
    }

    fn fit(&self, train: TrainRows<'_>, context: &Context) -> Result<Numbering, NodeError> {
        if let Some(path) = &self.options.tokenizer {
            return self.read(path).map_err(NodeError::failed);
        }
        let column = train.frame().column(&self.options.column).map_err(NodeError::failed)?;
        let texts = column.str().map_err(NodeError::failed)?;
        let rule = self.rule();
        let vocabulary = Vocabulary::learn(texts.iter().flatten(), rule);
        if vocabulary.entries().is_empty() {
            return Err(NodeError::failed(TokenizeError::Nothing {
                column: self.options.column.clone(),
                rows: column.len(),
                min_count: rule.min_count,
            }));
        }
        context.cancel.check()?;
        Ok(Numbering::Vocabulary(vocabulary))
    }

    fn apply(&self, numbering: &Numbering, rows: &DataFrame) -> Result<DataFrame, NodeError> {
        self.tokens(numbering, rows).and_then(|tokens| media::frame(tokens, None))
    }

    fn apply_declared(&self, numbering: &Numbering, rows: &DataFrame, change: &Change) -> Result<DataFrame, NodeError> {
        let tokens = self.tokens(numbering, rows)?;
        let texts = rows.column(&self.options.column).map_err(NodeError::failed)?;
        let present = || texts.is_not_null().iter().map(|is_present| is_present == Some(true)).collect();
        media::frame(tokens, (change.writes.len() > 1).then(present))
    }
}

impl Tokenize {
    fn rule(&self) -> VocabularyRule {
        let options = &self.options;
        VocabularyRule {
            unit: match options.by {
                None | Some(By::Word) => Unit::Word,
                Some(By::Character) => Unit::Character,
            },
            case: if options.lower_case.unwrap_or(true) { Case::Lowered } else { Case::Kept },
            min_count: options.min_count.unwrap_or(2),
            max_entries: usize::try_from(options.max_vocabulary.unwrap_or(20_000)).unwrap_or(usize::MAX),
        }
    }

    /// What is fitted where a file numbers the tokens; its tokeniser is made once to see whether it can be.
    fn read(&self, path: &PathOption) -> Result<Numbering, TokenizeError> {
        let unreadable = |reason: String| TokenizeError::File { path: path.as_path().display().to_string(), reason };
        let content = std::fs::read_to_string(path.as_path()).map_err(|error| unreadable(error.to_string()))?;
        let file = TokenizerFile { content, tokenizer: OnceLock::new() };
        file.tokenizer(self.options.max_length as usize).map_err(unreadable)?;
        Ok(Numbering::File(Box::new(file)))
    }

    fn tokens(&self, numbering: &Numbering, rows: &DataFrame) -> Result<Column, NodeError> {
        let column = rows.column(&self.options.column).map_err(NodeError::failed)?;
        let texts = column.str().map_err(NodeError::failed)?;
        let length = self.options.max_length as usize;
        let mut tokens = vec![0_u32; texts.len() * length];
        for (row, (text, tokens)) in texts.iter().zip(tokens.chunks_mut(length)).enumerate() {
            let Some(text) = text else { continue };
            match numbering {
                Numbering::Vocabulary(vocabulary) => vocabulary.encode(text, tokens),
                Numbering::File(file) => {
                    file.tokenizer(length).map_err(NodeError::Failed)?.encode(text, tokens).map_err(|error| {
                        let column = self.options.column.clone();
                        NodeError::failed(TokenizeError::Text { row, column, reason: error.to_string() })
                    })?
                }
            }
        }
        token_column(&self.options.written, length, tokens)
    }
}

impl TokenizerFile {
    /// The tokeniser of the content, for texts of at most `max_length` tokens; always the same one.
    fn tokenizer(&self, max_length: usize) -> Result<&FileTokenizer, String> {
        let made = || FileTokenizer::new(&self.content, max_length).map_err(|error| error.to_string());
        self.tokenizer.get_or_init(made).as_ref().map_err(String::clone)
    }
}

/// Why text cannot be made tokens.
#[derive(Debug, thiserror::Error)]
pub enum TokenizeError {
    /// A vocabulary without entries.
    #[error(
        "column `{column}`: nothing stands {min_count} times in its {rows} train rows, so the vocabulary would be empty; lower `min_count`"
    )]
    Nothing {
        /// The column.
        column: String,
        /// How many train rows there are.
        rows: usize,
        /// What the options ask for.
        min_count: u64,
    },
    /// The tokeniser's file cannot be used.
    #[error("`{path}` cannot be used: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A text that the tokeniser does not take.
    #[error("row {row}, column `{column}`: {reason}")]
    Text {
        /// The row, from 0.
        row: usize,
        /// The column.
        column: String,
        /// The tokeniser's own word.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use engine_table::{ColumnType, ErasedFitApply, Files, Kind, check_frame, token_slice};
    use serde_json::json;

    use super::super::media::tests::{present, table};
    use super::*;

    fn kind(options: serde_json::Value) -> Result<Tokenize, Vec<Problem>> {
        let mut all = json!({"column": "text", "max_length": 4, "as": "ids"});
        for (name, value) in options.as_object().unwrap() {
            all[name] = value.clone();
        }
        Tokenize::new(serde_json::from_value(all).unwrap())
    }

    fn columns(nullable: bool) -> TableType {
        table(vec![
            ColumnType::new("text", LogicalType::Text).with_nullable(nullable),
            ColumnType::new("n", LogicalType::Int),
        ])
    }

    fn fitted(kind: &Tokenize, texts: &[&str]) -> Result<Numbering, NodeError> {
        let frame = df!["text" => texts].unwrap();
        FitApply::fit(kind, TrainRows::admit(&frame, &columns(false).columns[..1]), &Context::quiet())
    }

    /// What is written of `texts`, after the fitted values went through their file.
    fn applied(kind: Tokenize, numbering: &Numbering, nullable: bool, texts: &[Option<&str>]) -> DataFrame {
        let change = FitApply::infer(&kind, &columns(nullable)).unwrap();
        let declared: Vec<ColumnType> = change.writes.iter().map(|written| written.column.clone()).collect();
        let files = Files::json("fitted.json", numbering).unwrap();
        let erased: Arc<dyn ErasedFitApply> = Arc::new(kind);
        let found = erased.prepare(&files, &change).unwrap().apply(&df!["text" => texts].unwrap()).unwrap();
        check_frame(&found, &declared).unwrap();
        found
    }

    fn ids(frame: &DataFrame) -> Vec<u32> {
        token_slice(frame.column("ids").unwrap().as_materialized_series()).unwrap().to_vec()
    }

    #[test]
    fn words_of_the_train_rows_are_numbered_and_missing_text_is_padding() {
        let kind = kind(json!({"min_count": 1})).unwrap();
        let numbering = fitted(&kind, &["card lost", "Card late?"]).unwrap();
        let texts = [Some("my card late card late"), None, Some(""), Some("LOST")];
        let found = applied(kind, &numbering, true, &texts);
        // card 2, then `?`, `late` and `lost` by their bytes.
        assert_eq!(ids(&found), [1, 2, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(present(&found, "ids_present"), [true, false, true, true]);
    }

    #[test]
    fn without_gaps_there_is_no_second_column_and_capitals_may_count() {
        let kind = kind(json!({"by": "character", "lower_case": false, "min_count": 1, "max_vocabulary": 2})).unwrap();
        let numbering = fitted(&kind, &["aAbb"]).unwrap();
        let found = applied(kind, &numbering, false, &[Some("bAa"), Some("")]);
        assert_eq!(found.width(), 1);
        assert_eq!(ids(&found), [2, 3, 1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn an_empty_vocabulary_is_an_error_that_names_the_column() {
        let error = fitted(&kind(json!({})).unwrap(), &["each once"]).unwrap_err().to_string();
        assert!(error.starts_with("column `text`: nothing stands 2 times in its 1 train rows"), "{error}");
    }

    const FILE: &str = r###"{
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"[PAD]": 0, "[UNK]": 1, "card": 2}, "unk_token": "[UNK]"}
    }"###;

    #[test]
    fn a_file_goes_into_the_fitted_values_and_is_needed_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, FILE).unwrap();
        let kind = kind(json!({"tokenizer": path})).unwrap();
        assert_eq!(FitApply::files(&kind), [path]);
        assert!(FitApply::infer(&kind, &columns(false)).unwrap().fit_reads.is_empty(), "no row is read to fit it");
        let numbering = fitted(&kind, &[]).unwrap();
        drop(folder);
        let found = applied(kind, &numbering, false, &[Some("card x card")]);
        assert_eq!(ids(&found), [2, 1, 2, 0]);
    }

    #[test]
    fn a_bound_node_without_its_path_still_applies_what_was_fitted() {
        let all = Kind::fit_apply::<Tokenize>();
        let options = json!({"column": "text", "as": "ids", "tokenizer": "/nowhere/tokenizer.json"});
        let bound = all.bind(options.as_object().unwrap()).ok().unwrap();
        assert!(bound.key_options.get("tokenizer").is_none(), "a path keys nothing");
        assert!(all.bind(bound.key_options.as_object().unwrap()).is_ok(), "a deployment has no path");
    }

    #[test]
    fn a_file_that_is_none_and_options_it_does_not_go_with_say_so() {
        let problems = kind(json!({"tokenizer": "t.json", "by": "word", "min_count": 3})).err().unwrap();
        let found: Vec<String> = problems.iter().map(|problem| format!("{:?}", problem.at)).collect();
        assert_eq!(found, ["Option(\"/by\")", "Option(\"/min_count\")"]);
        let error = fitted(&kind(json!({"tokenizer": "/nowhere/t.json"})).unwrap(), &[]).unwrap_err().to_string();
        assert!(error.starts_with("`/nowhere/t.json` cannot be used: "), "{error}");
        let problems = FitApply::infer(&kind(json!({"column": "n"})).unwrap(), &columns(false)).unwrap_err();
        assert_eq!(problems[0].code.name, "column.type");
    }
}
