//! Text as token numbers: vocabularies of words and characters learnt from texts, and tokenisers from a file.
//!
//! Promises: 0 is padding and nothing else, at the end; 1 stands for what a learnt vocabulary does not have; a learnt
//! vocabulary depends on the texts as a multiset, not on their order. Knows no table.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use tokenizers::{Tokenizer, TruncationParams};

/// The number of padding.
pub const PADDING: u32 = 0;
/// The number of what a vocabulary does not have.
pub const UNKNOWN: u32 = 1;
/// The number of the first entry of a vocabulary.
pub const FIRST: u32 = 2;

/// What a text is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Runs of letters and digits; every other sign but white space is a word of its own.
    Word,
    /// Single characters (Unicode scalar values), white space too.
    Character,
}

/// Whether capitals count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Case {
    /// Text is made lower case first.
    Lowered,
    /// Text stays as it is.
    Kept,
}

/// How a vocabulary is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VocabularyRule {
    /// What texts are cut into.
    pub unit: Unit,
    /// Whether capitals count.
    pub case: Case,
    /// How often an entry must stand in the texts.
    pub min_count: u64,
    /// Most entries.
    pub max_entries: usize,
}

/// Words or characters and their numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Vocabulary {
    unit: Unit,
    case: Case,
    entries: Vec<String>,
    numbers: HashMap<String, u32>,
}

/// A vocabulary as it is kept: entries in the order of their numbers.
#[derive(Serialize, Deserialize)]
struct Stored {
    unit: Unit,
    case: Case,
    entries: Vec<String>,
}

impl From<Stored> for Vocabulary {
    fn from(stored: Stored) -> Vocabulary {
        let Stored { unit, case, entries } = stored;
        let numbers = entries.iter().cloned().zip(FIRST..).collect();
        Vocabulary { unit, case, entries, numbers }
    }
}

impl From<Vocabulary> for Stored {
    fn from(vocabulary: Vocabulary) -> Stored {
        Stored { unit: vocabulary.unit, case: vocabulary.case, entries: vocabulary.entries }
    }
}

impl Vocabulary {
    /// The vocabulary of `texts`: by falling count, entries of one count in the order of their bytes.
    pub fn learn<'a>(texts: impl IntoIterator<Item = &'a str>, rule: VocabularyRule) -> Vocabulary {
        let mut counts: HashMap<String, u64> = HashMap::new();
        for text in texts {
            each_unit(text, rule.unit, rule.case, |unit| {
                match counts.get_mut(unit) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(unit.to_owned(), 1);
                    }
                }
                true
            });
        }
        let mut counted: Vec<(String, u64)> =
            counts.into_iter().filter(|(_, count)| *count >= rule.min_count).collect();
        counted.sort_unstable_by(|(word, count), (other, others)| others.cmp(count).then_with(|| word.cmp(other)));
        counted.truncate(rule.max_entries);
        let entries = counted.into_iter().map(|(entry, _)| entry).collect();
        Stored { unit: rule.unit, case: rule.case, entries }.into()
    }

    /// The entries, in the order of their numbers from [`FIRST`] on.
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Writes the numbers of the first units of `text` into `tokens`, and padding behind them.
    pub fn encode(&self, text: &str, tokens: &mut [u32]) {
        let mut written = 0;
        if !tokens.is_empty() {
            each_unit(text, self.unit, self.case, |unit| {
                tokens[written] = self.numbers.get(unit).copied().unwrap_or(UNKNOWN);
                written += 1;
                written < tokens.len()
            });
        }
        tokens[written..].fill(PADDING);
    }
}

/// Shows `see` the units of `text` in order until it has seen enough, which it says by `false`.
fn each_unit(text: &str, unit: Unit, case: Case, mut see: impl FnMut(&str) -> bool) {
    let lowered;
    let text = match case {
        Case::Lowered => {
            lowered = text.to_lowercase();
            &lowered
        }
        Case::Kept => text,
    };
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        let length = match unit {
            Unit::Word if sign.is_alphanumeric() => {
                rest.find(|sign: char| !sign.is_alphanumeric()).unwrap_or(rest.len())
            }
            Unit::Word | Unit::Character => sign.len_utf8(),
        };
        let (head, tail) = rest.split_at(length);
        let is_unit = unit == Unit::Character || !sign.is_whitespace();
        if is_unit && !see(head) {
            return;
        }
        rest = tail;
    }
}

/// Why a tokeniser's file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// It is no such file.
    #[error("it is no tokenizer.json: {0}")]
    File(String),
    /// No room for text beside the signs the file puts around it.
    #[error("it puts {added} tokens around every text, and `max_length` {max_length} leaves no room for the text")]
    TooShort {
        /// The tokens it adds.
        added: usize,
        /// The greatest length.
        max_length: usize,
    },
    /// It does not take a text.
    #[error("it does not take the text: {0}")]
    Text(String),
}

/// A tokeniser as its authors run it (`tokenizer.json` of the `tokenizers` library), but for truncation and padding,
/// which are ours: a text is cut so that the tokens put around it stay, and padding is 0 at the end.
pub struct FileTokenizer {
    tokenizer: Tokenizer,
    /// What is added to a number, so that 0 is padding alone.
    shift: u32,
}

impl FileTokenizer {
    /// The tokeniser in the file with the content `json`, for texts of at most `max_length` tokens.
    ///
    /// # Errors
    /// If it is no such file, or `max_length` leaves no room.
    pub fn new(json: &str, max_length: usize) -> Result<FileTokenizer, TokenizerError> {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| TokenizerError::File(error.to_string()))?;
        let is_padding = |token: &str| {
            let named = tokenizer.get_padding().is_some_and(|padding| padding.pad_token == token);
            named || ["[PAD]", "<pad>", "<|padding|>"].contains(&token)
        };
        let shift = match tokenizer.id_to_token(PADDING) {
            Some(token) if !is_padding(&token) => 1,
            _ => 0,
        };
        tokenizer.with_padding(None);
        let none = tokenizer.with_truncation(None).map(|_| ());
        none.map_err(|error| TokenizerError::File(error.to_string()))?;
        let added = tokenizer.encode_fast("", true).map_err(|error| TokenizerError::File(error.to_string()))?.len();
        if added >= max_length {
            return Err(TokenizerError::TooShort { added, max_length });
        }
        let truncation = TruncationParams { max_length, stride: 0, ..TruncationParams::default() };
        let cut = tokenizer.with_truncation(Some(truncation)).map(|_| ());
        cut.map_err(|error| TokenizerError::File(error.to_string()))?;
        Ok(FileTokenizer { tokenizer, shift })
    }

    /// Writes the numbers of `text` into `tokens`, and padding behind them; `tokens` has `max_length` places.
    ///
    /// Where the file's token 0 is not its padding, every number is one more than in the file.
    ///
    /// # Errors
    /// If the tokeniser does not take the text.
    pub fn encode(&self, text: &str, tokens: &mut [u32]) -> Result<(), TokenizerError> {
        let encoding =
            self.tokenizer.encode_fast(text, true).map_err(|error| TokenizerError::Text(error.to_string()))?;
        tokens.fill(PADDING);
        for (place, number) in tokens.iter_mut().zip(encoding.get_ids()) {
            *place = number + self.shift;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(text: &str, unit: Unit, case: Case) -> Vec<String> {
        let mut found = Vec::new();
        each_unit(text, unit, case, |unit| {
            found.push(unit.to_owned());
            true
        });
        found
    }

    #[test]
    fn words_are_runs_of_letters_and_digits_and_signs_stand_alone() {
        assert_eq!(units("Paid 12.50€, é!", Unit::Word, Case::Lowered), ["paid", "12", ".", "50", "€", ",", "é", "!"]);
        assert_eq!(units("  \n", Unit::Word, Case::Kept), Vec::<String>::new());
        assert_eq!(units("Aß c", Unit::Character, Case::Kept), ["A", "ß", " ", "c"]);
    }

    fn rule(min_count: u64, max_entries: usize) -> VocabularyRule {
        VocabularyRule { unit: Unit::Word, case: Case::Lowered, min_count, max_entries }
    }

    #[test]
    fn numbers_go_by_falling_count_then_by_alphabet() {
        let texts = ["b a c", "B c", "b c d"];
        let vocabulary = Vocabulary::learn(texts, rule(1, 100));
        assert_eq!(vocabulary.entries(), ["b", "c", "a", "d"]);
        assert_eq!(Vocabulary::learn(texts.into_iter().rev(), rule(1, 100)), vocabulary);
        let mut tokens = [9; 6];
        vocabulary.encode("D b? x", &mut tokens);
        assert_eq!(tokens, [5, 2, 1, 1, 0, 0]);
        vocabulary.encode("", &mut tokens);
        assert_eq!(tokens, [0; 6]);
        let mut tokens = [9; 2];
        vocabulary.encode("a b c", &mut tokens);
        assert_eq!(tokens, [4, 2]);
        assert_eq!(Vocabulary::learn(texts, rule(2, 100)).entries(), ["b", "c"]);
        assert_eq!(Vocabulary::learn(texts, rule(1, 1)).entries(), ["b"]);
        let json = serde_json::to_string(&vocabulary).unwrap();
        assert_eq!(serde_json::from_str::<Vocabulary>(&json).unwrap(), vocabulary);
    }

    /// A WordPiece tokeniser as BERT's; with the padding at `padding`.
    fn word_piece(padding: usize) -> String {
        let mut words = vec!["[UNK]", "[CLS]", "[SEP]", "pay", "##ment", "late"];
        words.insert(padding, "[PAD]");
        let vocabulary: serde_json::Map<String, serde_json::Value> =
            words.iter().enumerate().map(|(number, word)| ((*word).to_owned(), number.into())).collect();
        let number = |word: &str| words.iter().position(|other| *other == word).unwrap();
        let special = |word: &str| serde_json::json!({"id": word, "ids": [number(word)], "tokens": [word]});
        serde_json::json!({
            "version": "1.0",
            "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
            "padding": {
                "strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": null,
                "pad_id": padding, "pad_type_id": 0, "pad_token": "[PAD]"
            },
            "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
                ],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")}
            },
            "decoder": null,
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary
            }
        })
        .to_string()
    }

    fn encoded(tokenizer: &FileTokenizer, text: &str, length: usize) -> Vec<u32> {
        let mut tokens = vec![9; length];
        tokenizer.encode(text, &mut tokens).unwrap();
        tokens
    }

    #[test]
    fn a_file_is_run_as_its_authors_do_with_our_truncation_and_padding() {
        let tokenizer = FileTokenizer::new(&word_piece(0), 6).unwrap();
        // [CLS] pay ##ment [UNK] [SEP], padded at the end with 0 whatever the file says.
        assert_eq!(encoded(&tokenizer, "Payment early", 6), [2, 4, 5, 1, 3, 0]);
        // Cut so that [SEP] stays.
        assert_eq!(encoded(&tokenizer, "late late late late late late", 6), [2, 6, 6, 6, 6, 3]);
        assert_eq!(encoded(&tokenizer, "", 6), [2, 3, 0, 0, 0, 0]);
    }

    #[test]
    fn where_0_is_no_padding_numbers_are_one_more() {
        let tokenizer = FileTokenizer::new(&word_piece(6), 5).unwrap();
        assert_eq!(encoded(&tokenizer, "late", 5), [2, 6, 3, 0, 0]);
    }

    #[test]
    fn a_file_that_is_none_and_a_length_without_room_say_so() {
        assert!(FileTokenizer::new("{}", 8).err().unwrap().to_string().starts_with("it is no tokenizer.json"));
        let error = FileTokenizer::new(&word_piece(0), 2).err().unwrap().to_string();
        assert_eq!(error, "it puts 2 tokens around every text, and `max_length` 2 leaves no room for the text");
    }
}
